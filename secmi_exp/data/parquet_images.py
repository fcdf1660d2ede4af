"""Parquet files with the images in them, as the Hugging Face hub has image datasets; read a row group at a time."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.image_cells import Cell, ImageCells, image_column, paths_without_bytes
from secmi_exp.data.labels import LabelCells, Labels, read_column
from secmi_exp.data.parquet_files import cells_of, open_parquet
from secmi_exp.data.tables import refuse_names
from secmi_exp.errors import UserError, first_line

PART = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<parts>\d{5})(-[0-9a-f]+)?\.parquet")
"""How the hub names the files of a split."""


def images_within(file: Path) -> list[str]:
    """The columns of a Parquet file that hold images, structs of bytes and path; none for what is no Parquet file."""
    try:
        with open_parquet(file) as parquet:
            schema = parquet.schema_arrow
    except (OSError, pa.ArrowException):
        return []
    return [field.name for field in schema if pa.types.is_struct(field.type) and holds_images(field.type)]


def holds_images(struct: pa.StructType) -> bool:
    """Whether these are the fields that the library datasets keeps an image in."""
    fields = {struct.field(i).name: struct.field(i).type for i in range(struct.num_fields)}
    of_types = {
        "bytes": (pa.binary(), pa.large_binary(), pa.null()),
        "path": (pa.string(), pa.large_string(), pa.null()),
    }
    return all(fields.get(name) in types for name, types in of_types.items())


def tables_in(folder: Path) -> list[Path]:
    """The Parquet files with images in a folder or its ``data``, sorted; none where the first has no images."""
    files = sorted(folder.glob("data/*.parquet")) or sorted(folder.glob("*.parquet"))
    return files if files and images_within(files[0]) else []


def split_of(file: Path) -> str:
    """The part of the name that files of one split share; empty for files that are not numbered like the hub's."""
    part = PART.fullmatch(file.name)
    return f"{part['split']}-of-{part['parts']}" if part else ""


def split_files(path: Path) -> list[Path]:
    """The files of one split, in order.

    Args:
        path: of a folder; of the first file, which stands for all of its split; or of another, which stands for itself.

    Raises:
        UserError: for a folder with several splits, and where a file of the split is missing.
    """
    part = PART.fullmatch(path.name)
    if path.is_dir():
        files = tables_in(path)
    elif part and int(part["number"]) == 0:
        files = [file for file in sorted(path.parent.glob("*.parquet")) if split_of(file) == split_of(path)]
    else:
        return [path]
    firsts = sorted({split_of(file): file for file in reversed(files)}.values())
    if len(firsts) > 1:
        raise UserError(
            f"{path} has several splits: give the first file of one ({' or '.join(map(str, firsts))}) as the path, "
            "or of two as dataset.members and dataset.holdout."
        )
    part = PART.fullmatch(files[0].name)
    if part and len(files) != int(part["parts"]):
        raise UserError(
            f"Of the {int(part['parts'])} files of {files[0]} there are {len(files)}: put the others beside it."
        )
    return files


def column_names(file: Path) -> list[str]:
    """The names of a Parquet file's columns.

    Raises:
        UserError: where it can't be read.
    """
    try:
        with open_parquet(file) as parquet:
            names: list[str] = parquet.schema_arrow.names
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The table {file} can't be read: {first_line(error)}.") from error
    return names


def texts_of(column: pa.ChunkedArray, name: str, file: Path) -> list[Any]:
    """The cells of a column, [n].

    Raises:
        UserError: where they can't be read, as texts that aren't UTF-8.
    """
    try:
        return cells_of(column)
    except pa.ArrowException as error:
        raise UserError(f"The column {name} of {file} can't be read: {first_line(error)}.") from error


def read_columns(file: Path, image: str, others: Sequence[str]) -> tuple[pa.Table, list[int]]:
    """A file's column of images without their bytes and other columns, and how many rows each of its row groups has.

    Raises:
        UserError: where it can't be read, or lacks one of them.
    """
    try:
        with open_parquet(file) as parquet:
            names = parquet.schema_arrow.names
            refuse_names(names, file)
            missing = [image] * (image not in images_within(file)) + [name for name in others if name not in names]
            if missing:
                raise UserError(
                    f"The table {file} has no column {missing[0]} like that of the first file: "
                    "give one of them as the path."
                )
            groups = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
            table = parquet.read([f"{image}.path", *others], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The table {file} can't be read: {first_line(error)}.") from error
    if len(table) != sum(groups):
        raise UserError(
            f"The table {file} can't be read: it says that it has {sum(groups)} rows, and has {len(table)}."
        )
    return table, groups


def groups_with_gaps(metadata: pa.parquet.FileMetaData, column: str) -> list[int]:
    """The row groups that don't tell that each of their rows has a value in a column."""
    groups = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        (chunk,) = (each for each in map(group.column, range(group.num_columns)) if each.path_in_schema == column)
        statistics = chunk.statistics
        if statistics is None or not statistics.has_null_count or statistics.null_count:
            groups.append(number)
    return groups


def read_labels(files: Sequence[Path], image: str, column: str, ids: Sequence[str]) -> LabelCells:
    """The classes in a column of some Parquet files.

    Raises:
        UserError: where one of them can't be read, lacks the column, or holds what is no class.
    """
    cells: list[object] = []
    for file in files:
        cells += texts_of(read_columns(file, image, [column])[0][column], column, file)
    return read_column(cells, ids, files[0].parent)


class ParquetImages(ImageCells):
    """The images of some Parquet files of the same columns, one file after the other.

    Args:
        files: in order.
        choice: of captions.

    Raises:
        UserError: for files that can't be read, or lack a column that the first has.
    """

    def __init__(self, files: Sequence[Path], choice: CaptionChoice):
        self.files = files
        columns = column_names(files[0])
        column = image_column(images_within(files[0]), columns, files[0])
        captioned = choice.among(columns, [column], files[0])
        paths: list[str | None] = []
        captions: list[object] = []
        sizes: list[int] = []
        self._groups: list[tuple[int, int]] = []
        for number, file in enumerate(files):
            table, groups = read_columns(file, column, [choice.column] if captioned else [])
            paths += texts_of(pa.compute.struct_field(table[column], "path"), f"{column}.path", file)
            captions += texts_of(table[choice.column], choice.column, file) if captioned else []
            sizes += groups
            self._groups += [(number, group) for group in range(len(groups))]
        super().__init__(files[0].parent, column, paths)
        self._starts = np.cumsum([0, *sizes])
        self._last: tuple[int, Any] | None = None
        self.captions = choice.choose(captions, self._ids, files[0].parent) if captioned else None
        if choice.label_column in columns:
            self.labels = Labels(partial(read_labels, files, column, choice.label_column, self._ids))

    def table_files(self) -> list[Path]:
        """The fingerprint given."""
        return list(self.files)

    def linked(self) -> list[str]:
        """Read from those row groups that may have cells without bytes."""
        paths: list[str] = []
        for file in self.files:
            with open_parquet(file) as table:
                for group in groups_with_gaps(table.metadata, f"{self.column}.bytes"):
                    cells = table.read_row_group(group, [self.column], use_threads=False)[self.column]
                    paths += paths_without_bytes(cells)
        return paths

    def place(self, row: int) -> str:
        """The file, and the row in it."""
        file, _ = self._groups[self._group(row)]
        first = next(group for group, (number, _) in enumerate(self._groups) if number == file)
        return f"in row {row - self._starts[first]} of {self.files[file]}"

    def cell(self, row: int) -> Cell | None:
        """Out of its row group, which is kept for the rows that follow."""
        group = self._group(row)
        if self._last is None or self._last[0] != group:
            file, number = self._groups[group]
            with open_parquet(self.files[file]) as table:
                # Arrow's own threads would take cores from the other processes that decode.
                self._last = group, table.read_row_group(number, [self.column], use_threads=False)[self.column]
        cell: Cell | None = self._last[1][row - int(self._starts[group])].as_py()
        return cell

    def _group(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def __getstate__(self) -> dict[str, Any]:
        """Without the row group at hand, which another process would have to be sent."""
        return self.__dict__ | {"_last": None}
