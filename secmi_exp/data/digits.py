"""scikit-learn's handwritten digits: 1,797 gray 8×8 images that come with the library.

They are read from the library's file, as importing the library takes seconds, and captions are read by every run.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from secmi_exp.data.dataset import Dataset
from secmi_exp.data.images import Pixels
from secmi_exp.data.labels import LabelCells, Labels
from secmi_exp.data.samples import ArraySamples

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@cache
def read_digits() -> NDArray[np.float64]:
    """64 pixel counts from 0 to 16, and the digit shown; equal to scikit-learn's `load_digits`. [1797, 65]."""
    library = find_spec("sklearn")
    return np.loadtxt(Path(str(library and library.origin)).parent / "datasets/data/digits.csv.gz", delimiter=",")


def digit_pixels() -> Pixels:
    """Pixel counts spread over 0 … 255, [1797, 8, 8]."""
    return np.rint(read_digits()[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)


def digit_captions() -> list[str | None]:
    """The digits in words, [1797].

    >>> digit_captions()[:2]
    ['a handwritten zero', 'a handwritten one']
    """
    return [f"a handwritten {NAMES[int(label)]}" for label in read_digits()[:, -1]]


def digit_labels() -> LabelCells:
    """The digits, [1797]."""
    return LabelCells(read_digits()[:, -1].astype(int).tolist(), NAMES)


@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """All 1,797 digits."""

    def samples(self) -> ArraySamples:
        """Known by their row."""
        return ArraySamples("digits", "scikit-learn digits", digit_pixels, digit_captions(), Labels(digit_labels))
