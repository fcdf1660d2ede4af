"""What a file in ``conf/dataset`` names: where images come from, how they look, and their place in the store."""

import logging
from abc import ABC, abstractmethod
from dataclasses import asdict, field
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.data.decoding import decode, load, unreadable_sample
from secmi_exp.data.images import ImageSet
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.data.samples import Samples
from secmi_exp.run_warnings import warn
from secmi_exp.store import Json, Key, Store

log = logging.getLogger(__name__)

VERSION = 2
"""Of the decoding; raised when the same files would give other pixels or facts about them."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Dataset(ABC):
    """Images of equal shape, decoded once into the store."""

    name: str
    source: str
    """Where it comes from."""
    licence: str
    image_size: PositiveInt
    """Height and width that images are resized to, in pixels."""
    channels: Literal[1, 3]
    """Gray or RGB."""
    crop: PositiveInt | Literal["square", "after_resize"] | None
    """Centre crop before the resize: its side in pixels, the largest square, or none; or one after it."""
    horizontal_flip: bool
    """Whether a mirrored image is as good as the original, so that targets may be trained with flips."""
    on_error: Literal["stop", "skip"]
    """What happens to an image that can't be read."""
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

        Raises:
            UserError: where there are none, or one can't be read.
        """
        samples = self.samples()
        preprocessing = Preprocessing(self.image_size, self.channels, self.crop)
        config: dict[str, Json] = asdict(preprocessing)
        key = Key("images", VERSION, config, {"samples": samples.fingerprint(store.verify)})

        def build(workspace: Path) -> None:
            log.info("Decoding %s (source: %s; licence: %s).", self.name, self.source, self.licence)
            skip = self.on_error == "skip"
            decode(samples, preprocessing, workspace, skip_unreadable=skip, progress_bar=progress_bar)

        images = load(store.obtain(key, build).path, samples.is_member, samples.captions)
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
        return images
