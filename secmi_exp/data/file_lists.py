"""Image files that a list names: CSV or Parquet, Hugging Face's metadata files, or the authors' captions.npy."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.samples import ImageFiles, image_paths
from secmi_exp.errors import UserError

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""What Hugging Face's imagefolder reads captions from."""


def listed(file: Path, choice: CaptionChoice) -> ImageFiles:
    """The images in the column ``path`` of a CSV or Parquet file, in its order.

    Raises:
        UserError: for a file that can't be read, or lacks the column.
    """
    table = read_table(file)
    if "path" not in table.column_names:
        raise UserError(f"The list {file} has the columns {', '.join(table.column_names)}, and none named path.")
    names = [str(name) for name in table["path"].to_pylist()]
    refuse_repeated(names, file)
    paths = [str(file.parent / name) for name in names]
    is_member = stated_membership(table, file) if "is_member" in table.column_names else None
    has_captions = choice.column in table.column_names
    return ImageFiles(
        paths, names, is_member, choice.of(table[choice.column].to_pylist(), names, file) if has_captions else None
    )


def read_table(file: Path) -> pa.Table:
    """A CSV or Parquet file.

    Raises:
        UserError: where it can't be read.
    """
    try:
        if file.suffix.lower() == ".csv":
            return pa.csv.read_csv(file, parse_options=pa.csv.ParseOptions(newlines_in_values=True))
        return pa.parquet.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The list {file.absolute()} can't be read: {str(error).splitlines()[0]}.") from error


def refuse_repeated(names: Sequence[str], file: Path) -> None:
    """A sample's name is its id.

    Raises:
        UserError: where two are the same.
    """
    repeated = len(names) - len(set(names))
    if repeated:
        raise UserError(f"The list {file} names {repeated} images more than once: name each once.")


def stated_membership(table: pa.Table, file: Path, name: str = "is_member") -> NDArray[np.bool_]:
    """The column of who is a member.

    Raises:
        UserError: for anything but true and false, or 1 and 0.
    """
    try:
        column = table[name].cast(pa.bool_())
    except pa.ArrowException as error:
        raise UserError(f"The column {name} of {file} must hold true or false: {error}.") from error
    if column.null_count:
        raise UserError(f"The column {name} of {file} is empty in {column.null_count} rows: fill it in, or drop it.")
    return np.asarray(column.to_pylist(), dtype=bool)


def metadata_files(folder: Path) -> list[Path]:
    """Those that make a folder one of Hugging Face's imagefolder kind."""
    return [folder / name for name in METADATA if (folder / name).is_file()]


def with_metadata(folder: Path, choice: CaptionChoice) -> ImageFiles:
    """The images below a folder, sorted by path; the metadata file in it has captions of those that it lists.

    Raises:
        UserError: for two metadata files, for one that can't be read or lists a file that isn't there.
    """
    file, *more = metadata_files(folder)
    if more:
        raise UserError(f"{folder} has both {file.name} and {more[0].name}: keep the one that holds the captions.")
    columns = metadata_columns(file)
    if "file_name" not in columns:
        raise UserError(f"{file} has the columns {', '.join(columns)}, and none named file_name.")
    listed_names = [os.path.normpath(str(name)) for name in columns["file_name"]]
    refuse_repeated(listed_names, file)
    names = {path.removeprefix(f"{folder}/") for path in image_paths(folder)}
    for name in listed_names:
        if name not in names and not (folder / name).is_file():
            raise UserError(f"{file} lists {name}, but there is no {folder / name}: put it there, or leave it out.")
    ordered = sorted(names.union(listed_names))
    captions = None
    if choice.among(list(columns), ["file_name"], file):
        cells = dict(zip(listed_names, columns[choice.column], strict=True))
        captions = choice.of((cells.get(name) for name in ordered), ordered, file)
    return ImageFiles([f"{folder}/{name}" for name in ordered], ordered, captions=captions)


def metadata_columns(file: Path) -> Mapping[str, Sequence[object]]:
    """A metadata file by column, each [n].

    Raises:
        UserError: where it can't be read.
    """
    if file.suffix != ".jsonl":
        columns: dict[str, list[object]] = read_table(file).to_pydict()
        return columns
    rows: list[dict[str, object]] = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"Line {number} of {file} can't be read as JSON: {error}.") from error
            if not isinstance(row, dict):
                raise UserError(f"Line {number} of {file} is {row!r}: an object with file_name is needed.")
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def laion(folder: Path, choice: CaptionChoice) -> ImageFiles:
    """The authors' LAION subset, in the order of its list: captions.npy has rows (NAME, caption) of images/NAME.jpg.

    Raises:
        UserError: for a list of another form.
    """
    file = folder / "captions.npy"
    try:
        rows = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file} can't be read as an array of text: {str(error).splitlines()[0]}.") from error
    if not isinstance(rows, np.ndarray) or rows.dtype.kind != "U" or rows.ndim != 2 or rows.shape[1] != 2:
        seen = f"{rows.dtype} with shape {rows.shape}" if isinstance(rows, np.ndarray) else "several arrays"
        raise UserError(f"{file} holds {seen} where text with two columns, name and caption, is needed.")
    names = [f"images/{name}.jpg" for name in rows[:, 0].tolist()]
    refuse_repeated(names, file)
    captions = choice.of(rows[:, 1].tolist(), names, file)
    return ImageFiles([f"{folder}/{name}" for name in names], names, captions=captions)
