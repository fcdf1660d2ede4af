"""Class labels of images: numbers as a dataset has them, or names of classes, numbered in sorted order."""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from secmi_exp.errors import UserError
from secmi_exp.formatting import shown, unicode_name
from secmi_exp.store import Key, Store, write_json

Cell = int | str | None
"""A class's number or name; None for an image without one."""

WHOLE = re.compile(r"-?[0-9]{1,18}(\.0*)?")
"""A class's number as text, also as pandas writes it where a column has gaps."""
FILE = "labels.json"
"""File of labels in the store."""
UNLABELLED = -1
"""Number that stands for none, in datasets of torchvision and Hugging Face."""


@dataclass(frozen=True)
class LabelCells:
    """Classes of a dataset's samples as the dataset has them."""

    cells: Sequence[Cell]
    """All numbers, or all names. [N]"""
    names: Sequence[str] | None = None
    """Names of the classes 0, 1, …, where the dataset numbers them itself and names them."""


@dataclass(frozen=True)
class Labels:
    """Class labels of all samples of a dataset, read when they are first accessed, as most runs need none."""

    read: Callable[[], LabelCells]
    """Can be pickled."""
    key: Key | None = None
    """Key under which the store keeps what was read, where reading takes long."""

    @cached_property
    def as_given(self) -> LabelCells:
        """What was read."""
        return self.read()

    def kept(self, store: Store) -> "Labels":
        """The same labels, which are read once and found in the store from then on, where they have a key."""
        return Labels(partial(read_or_find, self.read, self.key, store)) if self.key else self

    @cached_property
    def numbers(self) -> list[int | None]:
        """A class's number for each sample, None where it has none. [N]"""
        number = {name: number for number, name in enumerate(self.names or [])}
        return [number[cell] if isinstance(cell, str) else cell for cell in self.as_given.cells]

    @cached_property
    def names(self) -> Sequence[str] | None:
        """Names of the classes 0, 1, …, where they are known."""
        found = {cell for cell in self.as_given.cells if isinstance(cell, str)}
        return sorted(found) if found else self.as_given.names

    @property
    def sorted(self) -> bool:
        """Whether the classes are numbered here, in the sorted order of those names that occur."""
        return self.names is not None and self.names is not self.as_given.names

    @property
    def count(self) -> int:
        """Classes: those that have names, or up to the largest number."""
        largest = max((number for number in self.numbers if number is not None), default=-1)
        return max(len(self.names or []), largest + 1)


def read_or_find(read: Callable[[], LabelCells], key: Key, store: Store) -> LabelCells:
    """See `Labels.kept`."""

    def build(workspace: Path) -> None:
        labels = read()
        write_json(workspace / FILE, {"cells": list(labels.cells), "names": labels.names and list(labels.names)})

    content = json.loads((store.get_or_build(key, build).path / FILE).read_text(encoding="utf-8"))
    return LabelCells(content["cells"], content["names"])


def joined(first: Labels | None, second: Labels | None, sizes: Sequence[int]) -> Labels | None:
    """The labels of two parts of a dataset, numbered over both; None where neither has any.

    Args:
        first: labels of the members.
        second: labels of the hold-outs.
        sizes: samples of each.
    """
    return Labels(partial(read_both, first, second, sizes)) if first or second else None


def read_both(first: Labels | None, second: Labels | None, sizes: Sequence[int]) -> LabelCells:
    """See `joined`.

    Raises:
        UserError: where the parts number their classes in different ways.
    """
    sides = [side.as_given if side else LabelCells([None] * n) for side, n in zip((first, second), sizes, strict=True)]
    cells = [cell for side in sides for cell in side.cells]
    if len({type(cell) for cell in cells if cell is not None}) > 1:
        raise UserError(
            "The classes are names on one of the sides, dataset.members and dataset.holdout, and numbers on the other: "
            "label both in the same way."
        )
    declared = list({tuple(side.names): side.names for side in sides if side.names}.values())
    if len(declared) > 1:
        one, other = next((a, b) for a, b in zip([*declared[0], None], [*declared[1], None], strict=False) if a != b)
        raise UserError(
            "dataset.members and dataset.holdout number their classes differently "
            f"({shown(one)} and {shown(other)} have the same number): label both in the same way."
        )
    return LabelCells(cells, declared[0] if declared else None)


def folder_labels(names: Sequence[str]) -> Labels | None:
    """Labels of images that lie in sub-folders, each of which is a class; None where none lies in one.

    Args:
        names: of image files, relative to the folder that holds the sub-folders.
    """
    return Labels(partial(read_folders, names)) if any(map(class_folder, names)) else None


def read_folders(names: Sequence[str]) -> LabelCells:
    """The class of each image: the first of the folders that it lies in."""
    return LabelCells([class_folder(name) for name in names])


def class_folder(name: str) -> str | None:
    """The first folder of a relative path.

    >>> class_folder("cat/black/1.png"), class_folder("1.png"), class_folder("../1.png")
    ('cat', None, None)
    """
    folder, slash, _ = name.partition("/")
    return unicode_name(folder) if slash and folder not in ("", "..") else None


def read_column(cells: Iterable[object], ids: Sequence[str], where: Path) -> LabelCells:
    """The labels in a table's column: numbers where all are whole numbers, also as text, and else names.

    Empty cells, NaN and −1 stand for no label.

    Args:
        cells: a sample's class, [N].
        ids: of the samples, [N].
        where: file or folder that they were read from.

    Raises:
        UserError: naming the first cell that is anything else.
    """
    given = [_stripped(cell) for cell in cells]
    named = any(isinstance(cell, str) and not WHOLE.fullmatch(cell) for cell in given)
    labels: list[Cell] = []
    for cell, name in zip(given, ids, strict=True):
        try:
            labels.append(_name(cell) if named else _number(cell))
        except ValueError as error:
            raise UserError(
                f"The class label of {name} in {where} is {shown(cell)}, where {error} is needed: correct it, or set "
                "dataset.label_column to the column that holds class labels."
            ) from error
    return LabelCells(labels)


def _stripped(cell: object) -> object:
    """A cell, None where it is empty."""
    if isinstance(cell, str):
        return cell.strip() or None
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _name(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell if cell is None else unicode_name(cell)
    raise ValueError("a name, as other images have,")


def _number(cell: object) -> int | None:
    if cell is None:
        return None
    number = None
    if isinstance(cell, str):
        number = int(cell.partition(".")[0])
    elif isinstance(cell, int | float) and not isinstance(cell, bool) and float(cell).is_integer():
        number = int(cell)
    if number is None or number < UNLABELLED:
        raise ValueError("a whole number from 0 on, or a name,")
    return None if number == UNLABELLED else number
