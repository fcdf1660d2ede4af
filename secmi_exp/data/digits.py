"""scikit-learn's handwritten digits: 1,797 gray 8×8 images that come with the library."""

import numpy as np
from pydantic.dataclasses import dataclass

from secmi_exp.data.dataset import Dataset
from secmi_exp.data.images import Pixels
from secmi_exp.data.samples import Array

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digit_pixels() -> Pixels:
    """Pixel counts 0 … 16 spread over 0 … 255, [1797, 8, 8]."""
    from sklearn.datasets import load_digits

    pixels: Pixels = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    return pixels


def digit_captions() -> list[str | None]:
    """What each shows, [1797].

    >>> digit_captions()[:2]
    ['a handwritten zero', 'a handwritten one']
    """
    from sklearn.datasets import load_digits

    return [f"a handwritten {NAMES[label]}" for label in load_digits().target]


@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """All 1,797 digits."""

    def samples(self) -> Array:
        """Known by their row."""
        return Array("digits", "scikit-learn digits", digit_pixels, digit_captions())
