"""The base class of datasets, which the files in ``conf/dataset`` name."""

import logging
from abc import ABC, abstractmethod
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.data.decoding import FILES, decode, load, unreadable_sample
from secmi_exp.data.images import ImageSet
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.data.samples import Samples
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import warn
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import outside_classes

log = logging.getLogger(__name__)

VERSION = 2
"""Version of the decoding; raised when the same files would give other pixels or facts about them."""

LARGEST_SIDE = 8192
"""Pixels of an outcome's sides and of a crop, beyond which a single image takes gigabytes on its way."""


def read_image_size(value: object) -> int | tuple[int, int]:
    """Both sides at once, or height and width.

    Raises:
        ValueError: for anything but one or two whole numbers above 0, and for larger ones than `LARGEST_SIDE`.
    """
    sides = value if isinstance(value, list | tuple) else [value, value]
    match [side for side in sides if isinstance(side, int) and not isinstance(side, bool) and side > 0]:
        case [height, width] if len(sides) == 2:
            if max(height, width) > LARGEST_SIDE:
                raise ValueError(f"{LARGEST_SIDE} pixels a side are the most")
            return height if height == width else (height, width)
    raise ValueError("a whole number of pixels above 0 is needed, or two as [height,width]")


def read_crop(value: object) -> object:
    """A side, or how the crop is found.

    Raises:
        ValueError: for anything else, and for a side longer than `LARGEST_SIDE`, which small images would be padded to.
    """
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_SIDE
    if not whole and value not in ("square", "after_resize", None):
        raise ValueError(f"square, after_resize, null, or a number of pixels from 1 to {LARGEST_SIDE} is needed")
    return value


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Dataset(ABC):
    """Images of equal shape, decoded once into the store."""

    name: str
    source: str
    """Where it comes from."""
    licence: str
    image_size: Annotated[int | tuple[int, int], BeforeValidator(read_image_size)]
    """Size that images are resized to, in pixels: one number for both sides, or height and width."""
    channels: Literal[1, 3]
    """Gray or RGB."""
    crop: Annotated[int | Literal["square", "after_resize"] | None, BeforeValidator(read_crop)]
    """Centre crop before the resize: its side in pixels, the largest square, or none; or one after it."""
    horizontal_flip: bool
    """Whether a mirrored image is as good as the original, so that targets may be trained with flips."""
    on_error: Literal["stop", "skip"]
    """Whether an image that can't be read ends the run or is left out."""
    exif: Literal["apply", "ignore"] | None = None
    """Whether images are turned upright as their EXIF says; None: no, with a warning where any states so."""
    suggested: dict[str, int | None] = field(default_factory=dict)
    """Values that other config groups read by interpolation."""

    @abstractmethod
    def samples(self) -> Samples:
        """Find the images, or download them.

        Raises:
            UserError: where they are not, saying where they should be.
        """

    def load(self, store: Store, *, progress_bar: bool) -> ImageSet:
        """All images, from the store where they were decoded before.

        Args:
            store: store of the decoded images.
            progress_bar: whether to show one.

        Raises:
            UserError: where there are none, or one can't be read.
        """
        return self.load_samples(self.samples(), store, progress_bar=progress_bar)

    def load_samples(self, samples: Samples, store: Store, *, progress_bar: bool) -> ImageSet:
        """Load these samples in place of the dataset's own; see `load`."""
        preprocessing = Preprocessing(self.image_size, self.channels, self.crop, self.exif or "ignore")
        config = {**preprocessing.config, **outside_classes(dataset=self, samples=samples)}
        key = Key("images", VERSION, config, {"samples": samples.fingerprint(store.verify)}, files=FILES)

        def build(workspace: Path) -> None:
            log.info("Decoding %s (source: %s; licence: %s).", self.name, self.source, self.licence)
            skip = self.on_error == "skip"
            decode(samples, preprocessing, workspace, skip_unreadable=skip, progress_bar=progress_bar)

        labels = samples.labels and samples.labels.kept(store)
        images = load(store.get_or_build(key, build).path, samples.is_member, samples.captions, labels)
        if images.unreadable:
            row, why = next(iter(images.unreadable.items()))
            if self.on_error == "stop":
                raise unreadable_sample(samples.place(row), why)
            warn(
                "images_unreadable",
                f"{len(images.unreadable)} of {len(images)} images can't be read and are left out, the first of them "
                f"{samples.place(row)} ({why}).",
                count=len(images.unreadable),
            )
        self._warn_of_orientations(images)
        _warn_of_several_frames(images)
        return images

    def facts(self, images: ImageSet) -> dict[str, Json]:
        """How the images were prepared, for results.json."""
        height, width = images.pixels.shape[2:]
        return {
            "images": len(images),
            "image_size": [height, width],
            "crop": self.crop,
            "exif": self.exif or "ignore",
            "exif_chosen": self.exif is not None,
            "exif_orientations": turned(images),
        }

    def _warn_of_orientations(self, images: ImageSet) -> None:
        count = turned(images)
        if count and self.exif is None:
            warn(
                "exif_orientation_not_chosen",
                f"{count} of {len(images)} images are turned by their EXIF orientation, which is ignored, as "
                "torchvision's datasets do; Hugging Face's have applied it since 2023: set dataset.exif to apply or "
                "ignore, as the target's training did.",
                count=count,
            )


def turned(images: ImageSet) -> int:
    """How many images have an EXIF orientation other than upright."""
    return 0 if images.orientations is None else int((images.orientations > 1).sum())


def _warn_of_several_frames(images: ImageSet) -> None:
    count = 0 if images.several_frames is None else int(images.several_frames.sum())
    if count:
        warn(
            "several_frames",
            f"{count} of {len(images)} images are animations or have several pages: the first of each is taken.",
            count=count,
        )
