"""Image datasets that the library datasets has saved to disk."""

import json
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.image_cells import Cell, ImageCells, image_column, paths_without_bytes
from secmi_exp.data.labels import LabelCells, Labels, read_column
from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.regular import read_regular, refuse_irregular

load_from_disk = Deferred("datasets:load_from_disk")
Image = Deferred("datasets:Image")

SPLITS = "dataset_dict.json"
"""Name of the file that lists the datasets of a folder with several."""
STATE = "state.json"
INFO = "dataset_info.json"
"""Name of the file that describes a single dataset."""
MOST_DESCRIBED = 2**24
"""Most bytes of either file."""


def refuse_splits(folder: Path) -> None:
    """Tell which datasets a folder of several has.

    Raises:
        UserError: always.
    """
    try:
        splits = [str(name) for name in json.loads(read_regular(folder / SPLITS))["splits"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        splits = []
    folders = [str(folder / name) for name in splits]
    if len(folders) < 2:
        mend = f"give {folders[0] if folders else 'one of them'} as the path."
    else:
        mend = f"give {folders[0]} and {folders[1]} as dataset.members and dataset.holdout, or one as dataset.path."
    raise UserError(f"{folder} is a folder of several datasets ({', '.join(splits) or 'none is named'}): {mend}")


def load_saved(folder: Path) -> Any:
    """A `datasets.Dataset`.

    Raises:
        UserError: where it can't be read.
    """
    try:
        read_regular(folder / INFO, MOST_DESCRIBED)
        for table in named_tables(folder):
            refuse_irregular(table)
        return load_from_disk(str(folder))
    except Exception as error:  # of Arrow's, JSON's and the library's own, by version and damage
        raise UserError(f"The dataset {folder} can't be read: {first_line(error)}.") from error


def named_tables(folder: Path) -> list[Path]:
    """The tables that the library's description of a dataset names; they may lie elsewhere.

    Raises:
        OSError, ValueError, KeyError, TypeError, RecursionError: where the description can't be read.
    """
    state = json.loads(read_regular(folder / STATE, MOST_DESCRIBED))
    return [folder / str(each["filename"]) for each in state["_data_files"]]


def images_of(dataset: Any, folder: Path) -> str:
    """The column that its images are in.

    Raises:
        UserError: where that is no single one.
    """
    images = [name for name, feature in dataset.features.items() if isinstance(feature, Image.imported)]
    return image_column(images, dataset.column_names, folder)


def refuse_damaged(dataset: Any, column: str, folder: Path) -> None:
    """Refuse a column whose offsets point elsewhere, where Arrow would read, or whose texts are no UTF-8.

    Raises:
        UserError: naming what is wrong.
    """
    try:
        dataset.data.column(column).validate(full=True)
    except pa.ArrowException as error:
        raise UserError(f"The column {column} of {folder} can't be read: {first_line(error)}.") from error


class SavedDataset(ImageCells):
    """One such dataset, memory-mapped.

    Args:
        folder: folder that ``save_to_disk`` wrote.
        choice: of captions.

    Raises:
        UserError: where it can't be read, or has no images.
    """

    def __init__(self, folder: Path, choice: CaptionChoice):
        self.folder, self.column = folder, images_of(load_saved(folder), folder)
        path = f"{self.column}.path"
        refuse_damaged(self._dataset, self.column, folder)
        super().__init__(folder, self.column, self._dataset.flatten().select_columns([path])[:][path])
        if choice.among(self._dataset.column_names, [self.column], folder):
            refuse_damaged(self._dataset, choice.column, folder)
            cells = self._dataset.select_columns([choice.column])[:][choice.column]
            self.captions = choice.choose(cells, self._ids, folder)
        if choice.label_column in self._dataset.column_names:
            self.labels = Labels(partial(self._labels, choice.label_column))

    def _labels(self, column: str) -> LabelCells:
        """The classes in a column, with their names where it declares them."""
        refuse_damaged(self._dataset, column, self.folder)
        read = read_column(self._dataset.select_columns([column])[:][column], self._ids, self.folder)
        return replace(read, names=getattr(self._dataset.features[column], "names", None))

    @cached_property
    def _dataset(self) -> Any:
        """With its images undecoded, and without the format that it was saved with, which may leave columns out."""
        return load_saved(self.folder).with_format(None).cast_column(self.column, Image(decode=False))

    def table_files(self) -> list[Path]:
        """The library's description of them, too."""
        return sorted([*self.folder.glob("*.json"), *self.folder.glob("*.arrow")])

    def linked(self) -> list[str]:
        """Found without reading the bytes of the others."""
        return paths_without_bytes(self._dataset.data.column(self.column))

    def place(self, row: int) -> str:
        """The folder, and the row in it."""
        return f"in row {row} of {self.folder}"

    def cell(self, row: int) -> Cell | None:
        """Read from the memory map."""
        cell: Cell | None = self._dataset[row][self.column]
        return cell

    def __getstate__(self) -> dict[str, Any]:
        """Without the memory map, which another process makes anew."""
        return {name: value for name, value in self.__dict__.items() if name != "_dataset"}
