"""Image sets: uint8 pixels with a stable id for each sample."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.labels import Labels

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]

DIGEST_BYTES = 16


@dataclass(frozen=True)
class Images:
    """Some rows of a decoded image set; pixels are copied out, of a memory map as a rule, when a batch is asked for."""

    pixels: Pixels
    """Pixels of the whole set, [N, C, H, W]."""
    digests: Pixels
    """Digests of the whole set, [N, 16]: see `pixel_digests`."""
    rows: Rows
    """Rows of these images in the whole set, [n]."""
    captions: Sequence[str | None] | None = None
    """Captions of the whole set, as in `ImageSet`; `digest` leaves them out, since they decide no pixel. [N]"""
    ids: Sequence[str] | None = None
    """Ids of the whole set, as in `ImageSet`. [N]"""
    labels: Labels | None = None
    """Class labels of the whole set, as in `ImageSet`; left out of `digest` too."""

    @classmethod
    def from_pixels(cls, pixels: Pixels) -> Images:
        """All of an array [N, C, H, W]."""
        return cls(pixels, pixel_digests(pixels), np.arange(len(pixels)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def names(self) -> list[str]:
        """The ids of these rows, [n]; their numbers where the images have none."""
        return [str(row) if self.ids is None else self.ids[row] for row in self.rows]

    @property
    def texts(self) -> list[str | None]:
        """The captions of these rows; None for what has none. [n]"""
        if self.captions is None:
            return [None] * len(self)
        return [self.captions[row] for row in self.rows]

    @property
    def classes(self) -> list[int | None]:
        """The class labels of these rows; None for what has none. [n]"""
        if self.labels is None:
            return [None] * len(self)
        return [self.labels.numbers[row] for row in self.rows]

    def __getitem__(self, batch: Rows | slice) -> Pixels:
        """A copy of a batch, [B, C, H, W]."""
        copy: Pixels = self.pixels[self.rows[batch]]
        if isinstance(batch, slice):  # of a pass in order, which does not come back
            release(self.pixels)
        return copy

    def __reduce__(self) -> tuple[Callable[..., Images], tuple[Pixels | Path, Pixels, Rows]]:
        """Pickled, a memory map is the path of its file, which other processes of the job can open.

        Captions, labels and ids stay behind: who unpickles the images queries a model with what was made of these.
        """
        pixels = self.pixels
        where = Path(pixels.filename) if isinstance(pixels, np.memmap) and pixels.filename else pixels
        return reopened, (where, self.digests, self.rows)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over shape and content in this order: images as the store's keys name them."""
        content = hashlib.sha256(repr((len(self), *self.shape)).encode())
        content.update(np.ascontiguousarray(self.digests[self.rows]).data)
        return content.hexdigest()


def reopened(pixels: Pixels | Path, digests: Pixels, rows: Rows) -> Images:
    """The images that were pickled."""
    return Images(np.load(pixels, mmap_mode="r") if isinstance(pixels, Path) else pixels, digests, rows)


def release(array: NDArray[Any]) -> None:
    """Release the pages of a memory map that were read; they remain in the file system's cache."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class ImageSet:
    """A decoded dataset; its rows keep the dataset's own order and number, whether or not all could be read."""

    pixels: Pixels
    """[N, C, H, W]; of a sample that could not be read, zeros."""
    digests: Pixels
    """[N, 16]."""
    ids: Sequence[str]
    """One stable, unique name a sample, such as ``digits/0042``. [N]"""
    unreadable: Mapping[int, str]
    """Row → why it could not be read."""
    is_member: NDArray[np.bool_] | None
    """The membership that the dataset itself states; None where it states none. [N]"""
    captions: Sequence[str | None] | None = None
    """One a sample, None where it has none; None altogether for a dataset without captions. [N]"""
    labels: Labels | None = None
    """Class labels of the samples; None for a dataset without any."""
    sizes: NDArray[np.int32] | None = None
    """Width and height before the image was prepared, in pixels; zeros where it could not be read. [N, 2]"""
    orientations: NDArray[np.uint8] | None = None
    """EXIF's orientation, 1 … 8; 1 for an upright image; zeros where it could not be read. [N]"""
    several_frames: NDArray[np.bool_] | None = None
    """Whether an image is an animation or has several pages, of which the first was taken. [N]"""

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def has_pixels(self) -> bool:
        """Whether there are images at all; otherwise only ids are known, and ``pixels`` is [N, 1, 0, 0]."""
        return bool(self.pixels.shape[2])

    @cached_property
    def readable(self) -> NDArray[np.bool_]:
        """[N]."""
        mask = np.ones(len(self), dtype=bool)
        mask[list(self.unreadable)] = False
        return mask

    @cached_property
    def content(self) -> Rows:
        """A number for each image, the same for those of equal pixels. [N]"""
        numbers: Rows = np.unique(self.digests, axis=0, return_inverse=True)[1]
        return numbers

    def select(self, rows: Rows) -> Images:
        """The images of some rows."""
        return Images(self.pixels, self.digests, rows, self.captions, self.ids, self.labels)


def pixel_digests(pixels: Pixels) -> Pixels:
    """BLAKE2b of each image [N, C, H, W], shortened to 128 bits: equal where the pixels are. [N, 16]."""
    digests = b"".join(hashlib.blake2b(image.tobytes(), digest_size=DIGEST_BYTES).digest() for image in pixels)
    return np.frombuffer(bytearray(digests), dtype=np.uint8).reshape(len(pixels), DIGEST_BYTES)
