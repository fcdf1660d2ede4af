"""The samples of a dataset as they lie on disk or in memory, before anything is decoded."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from secmi_exp.data.file_fingerprints import files_fingerprint
from secmi_exp.data.image_formats import open_image
from secmi_exp.data.images import Pixels
from secmi_exp.data.labels import Labels, joined
from secmi_exp.data.membership import Statement, refuse_contradiction
from secmi_exp.formatting import unicode_name
from secmi_exp.store import Verify


class Samples(ABC):
    """An indexed collection of images, which is cheap to create: pixels are read when an image is opened."""

    is_member: NDArray[np.bool_] | None = None
    """The membership that the dataset itself states. [N]"""
    captions: Sequence[str | None] | None = None
    """One chosen caption a sample, None where it has none; None altogether where the dataset has none at all. [N]"""
    labels: Labels | None = None
    """The samples' class labels; None where the dataset has none at all."""

    @abstractmethod
    def fingerprint(self, verify: Verify) -> str:
        """Changes when the samples change; found without decoding them."""

    @abstractmethod
    def ids(self) -> Sequence[str]:
        """One stable, unique name a sample, [N]."""

    @abstractmethod
    def open(self, row: int) -> Image.Image:
        """One image in its own size and mode; raises what PIL raises where it can't be read."""

    def place(self, row: int) -> str:
        """Name of the place where a user finds the sample, such as a path."""
        return self.ids()[row]


@dataclass(frozen=True)
class ImageFiles(Samples):
    """Image files; a file's id is the path that people know it by."""

    paths: Sequence[str]
    names: Sequence[str]
    """Names in the layout; the ids are the same, with what isn't Unicode escaped."""
    is_member: NDArray[np.bool_] | None = None
    captions: Sequence[str | None] | None = None
    labels: Labels | None = None

    def fingerprint(self, verify: Verify) -> str:
        """A digest of ids and files."""
        content = hashlib.sha256("\0".join(self.ids()).encode())
        content.update(files_fingerprint(self.paths, verify).encode())
        return content.hexdigest()

    def ids(self) -> Sequence[str]:
        """The names, with what isn't Unicode escaped."""
        return self._ids

    @cached_property
    def _ids(self) -> list[str]:
        return [unicode_name(name) for name in self.names]

    def open(self, row: int) -> Image.Image:
        """Read the header; PIL decodes when the pixels are accessed."""
        return open_image(self.paths[row])

    def place(self, row: int) -> str:
        """Its path."""
        return self.paths[row]


class ArraySamples(Samples):
    """Images of equal size that a reader gives as one array.

    Args:
        name: prefix of the ids.
        fingerprint: of what the reader reads.
        read: gives [N, H, W] or [N, H, W, 3], uint8; called when the first sample is asked for.
        captions: one a sample, where there are any, [N].
        labels: the samples' class labels, where there are any.
    """

    def __init__(
        self,
        name: str,
        fingerprint: str,
        read: Callable[[], Pixels],
        captions: Sequence[str | None] | None = None,
        labels: Labels | None = None,
    ):
        self._name, self._fingerprint, self._read = name, fingerprint, read
        self.captions, self.labels = captions, labels

    @cached_property
    def pixels(self) -> Pixels:
        """The array that the reader has returned."""
        return self._read()

    def fingerprint(self, verify: Verify) -> str:
        """The fingerprint given."""
        return self._fingerprint

    def ids(self) -> Sequence[str]:
        """The name and the row's number."""
        digits = len(str(len(self.pixels) - 1))
        return [f"{self._name}/{row:0{digits}d}" for row in range(len(self.pixels))]

    def open(self, row: int) -> Image.Image:
        """A row of the array."""
        return Image.fromarray(self.pixels[row])


class Sides(Samples):
    """Members and then hold-outs, each in a layout of its own; ids tell the side.

    Raises:
        UserError: where one of them states another membership itself.
    """

    def __init__(self, members: Samples, holdouts: Samples):
        refuse_other_membership(members, "dataset.members", True)
        refuse_other_membership(holdouts, "dataset.holdout", False)
        self.members, self.holdouts = members, holdouts
        sizes = [len(members.ids()), len(holdouts.ids())]
        self._n_members = sizes[0]
        self._ids = [*(f"members/{name}" for name in members.ids()), *(f"holdout/{name}" for name in holdouts.ids())]
        self.is_member = np.repeat([True, False], sizes)
        if members.captions is not None or holdouts.captions is not None:
            sides = zip((members, holdouts), sizes, strict=True)
            self.captions = [caption for side, n in sides for caption in side.captions or [None] * n]
        self.labels = joined(members.labels, holdouts.labels, sizes)

    def fingerprint(self, verify: Verify) -> str:
        """A digest of both sides' fingerprints."""
        sides = f"{self.members.fingerprint(verify)}\0{self.holdouts.fingerprint(verify)}"
        return hashlib.sha256(sides.encode()).hexdigest()

    def ids(self) -> Sequence[str]:
        """The sides' ids, each after the side's name."""
        return self._ids

    def open(self, row: int) -> Image.Image:
        """From the side that has it."""
        side, row = self._side(row)
        return side.open(row)

    def place(self, row: int) -> str:
        """The side's own description."""
        side, row = self._side(row)
        return side.place(row)

    def _side(self, row: int) -> tuple[Samples, int]:
        return (self.members, row) if row < self._n_members else (self.holdouts, row - self._n_members)


def refuse_other_membership(side: Samples, setting: str, is_member: bool) -> None:
    """Refuse a side whose own column says otherwise of some of its images.

    Raises:
        UserError: naming the first of them.
    """
    if side.is_member is not None:
        given = np.full(len(side.is_member), is_member)
        refuse_contradiction(
            Statement(setting, given),
            Statement("its column is_member", side.is_member),
            side.ids(),
            "give the list as dataset.path, so that the column alone says it, or drop the column",
        )
