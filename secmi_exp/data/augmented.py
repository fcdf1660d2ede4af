"""Surrogate hold-outs that are made of a collection's own images, each a little enlarged."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from secmi_exp.data.image_formats import with_8_bits
from secmi_exp.data.labels import Labels
from secmi_exp.data.samples import Samples
from secmi_exp.store import Verify

VERSION = 1
"""Raised when the same images would give other surrogates."""
SMALLEST = 0.85
"""Side of the smallest part of an image that is enlarged to the image's size; the largest is all of it."""
GRAY = ("1", "L", "LA", "La")
"""Pillow's modes without colour, beside those that begin with I."""


@dataclass(frozen=True)
class Augmented(Samples):
    """A part of each image of other samples, drawn at random and enlarged to the image's size."""

    samples: Samples
    seed: int
    is_member: NDArray[np.bool_] | None = None

    @property
    def captions(self) -> Sequence[str | None] | None:  # type: ignore[override]
        """Those of the images."""
        return self.samples.captions

    @property
    def labels(self) -> Labels | None:  # type: ignore[override]
        """Those of the images."""
        return self.samples.labels

    def fingerprint(self, verify: Verify) -> str:
        """A digest of the images' own, and of how the parts are drawn."""
        content = f"augmented\0{VERSION}\0{self.seed}\0{self.samples.fingerprint(verify)}"
        return hashlib.sha256(content.encode()).hexdigest()

    def ids(self) -> Sequence[str]:
        """The images' own, below ``augmented``."""
        return self._ids

    @cached_property
    def _ids(self) -> list[str]:
        return [f"augmented/{name}" for name in self.samples.ids()]

    def open(self, row: int) -> Image.Image:
        """Decode the image, and enlarge a part of it; raises what PIL raises where it can't be read."""
        with self.samples.open(row) as image:
            gray = image.mode in GRAY or image.mode.startswith("I")
            return enlarged(with_8_bits(image, "L" if gray else "RGB"), np.random.default_rng([self.seed, row]))

    def place(self, row: int) -> str:
        """The image's own description."""
        return self.samples.place(row)


def enlarged(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A part of an image, at least `SMALLEST` of each side, enlarged to the whole image's size.

    Args:
        image: in mode L or RGB.
        random: draws the part's size and place.
    """
    share = random.uniform(SMALLEST, 1.0)
    width, height = image.size
    top, left = (random.uniform(0.0, side * (1.0 - share)) for side in (height, width))
    return image.resize(
        image.size, Image.Resampling.BICUBIC, box=(left, top, left + width * share, top + height * share)
    )
