"""Tables that people give: CSV, TSV, JSON lines or Parquet, read by rule and refused by row where they break one.

Text files are UTF-8, with or without a byte-order mark. The cells of CSV and TSV are text as they stand; what has to be
a name, a number or a truth is checked where it is asked for.
"""

import codecs
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsFloat

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from secmi_exp.data.parquet_files import cells_of, open_parquet
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.regular import read_regular
from secmi_exp.formatting import shown

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl", ".parquet")
"""Suffixes of the files that `read_table` reads."""
TRUTHS = {"true": True, "1": True, "false": False, "0": False}
"""The texts that say whether something holds, in lower case."""


@dataclass(frozen=True)
class Table:
    """A table's cells by column."""

    file: Path
    columns: Mapping[str, Sequence[object] | pa.ChunkedArray]
    """Name → cells, [n]: text out of CSV and TSV, what JSON and Parquet have otherwise."""
    lines: Sequence[int] | None
    """Line at which each row starts in a text file, counted from 1, [n]; None for Parquet."""

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(self.columns)

    def place(self, row: int) -> str:
        """Where a person finds a row, counted from 0: a text file's line, or Parquet's row."""
        return f"row {row} of {self.file}" if self.lines is None else f"line {self.lines[row]} of {self.file}"

    def cells(self, name: str, advice: str = "name it so") -> Sequence[object]:
        """A column as the file has it, [n].

        Raises:
            UserError: where there is none of the name, ending in the advice.
        """
        if name not in self.columns:
            raise UserError(f"{self.file} has the columns {', '.join(self.names)}, and none named {name}: {advice}.")
        column = self.columns[name]
        if not isinstance(column, pa.ChunkedArray):
            return column
        try:
            return cells_of(column)
        except pa.ArrowException as error:
            raise UserError(f"The column {name} of {self.file} can't be read: {first_line(error)}.") from error

    def texts(self, name: str, advice: str = "name it so") -> list[str]:
        """A column of names or paths, [n]; whole numbers that a typed table has there are written out.

        Raises:
            UserError: where there is no such column, and for an empty cell or one of another type.
        """
        texts = []
        for row, cell in enumerate(self.cells(name, advice)):
            text = str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell
            if not isinstance(text, str) or not text.strip():
                raise self._refusal(row, name, cell, "text is needed")
            texts.append(text)
        return texts

    def numbers(self, name: str, advice: str = "name it so") -> NDArray[np.float64]:
        """A column of numbers, [n]; infinities and NaN are kept where they are written out.

        Raises:
            UserError: where there is no such column, and for anything else, an empty cell too.
        """
        numbers = []
        for row, cell in enumerate(self.cells(name, advice)):
            number = read_number(cell)
            if number is None:
                raise self._refusal(row, name, cell, "a number is needed")
            numbers.append(number)
        return np.array(numbers, dtype=np.float64)

    def truths(self, name: str) -> NDArray[np.bool_]:
        """A column of true, false, 1 or 0, [n]: in any case, quoted, or with spaces around it.

        Raises:
            UserError: where there is no such column, and for anything else: 2, 0.2, 1.0, yes, an empty cell.
        """
        truths = []
        for row, cell in enumerate(self.cells(name)):
            truth = None
            if isinstance(cell, int) and cell in (0, 1):
                truth = bool(cell)
            elif isinstance(cell, str):
                truth = TRUTHS.get(cell.strip().strip("\"'").strip().lower())
            if truth is None:
                raise self._refusal(row, name, cell, "true, false, 1 or 0 is needed")
            truths.append(truth)
        return np.array(truths, dtype=bool)

    def _refusal(self, row: int, name: str, cell: object, needed: str) -> UserError:
        seen = "empty" if cell is None or cell == "" else shown(cell)
        return UserError(f"The column {name} is {seen} in {self.place(row)}, where {needed}: correct that row.")


def read_table(file: Path) -> Table:
    """A table by its file's suffix.

    Raises:
        UserError: for another suffix, for a file that can't be read, a column without a name or with that of another,
            and a row that is longer or shorter than the others.
    """
    suffix = file.suffix.lower()
    if suffix in DELIMITERS:
        return _delimited(file, DELIMITERS[suffix])
    if suffix == ".jsonl":
        return _json_lines(file)
    if suffix == ".parquet":
        return _parquet(file)
    raise UserError(f"The list {file.absolute()} can't be read: {', '.join(SUFFIXES)} files can.")


def read_number(cell: object) -> float | None:
    """A number or its text as a float; None for anything else.

    >>> read_number(" 1e-3 "), read_number(7), read_number("1_000"), read_number(True)
    (0.001, 7.0, None, None)
    """
    if isinstance(cell, bool) or not isinstance(cell, str | SupportsFloat) or (isinstance(cell, str) and "_" in cell):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):  # of a whole number beyond the largest float
        return None


def read_text(file: Path) -> str:
    """A text file without its byte-order mark.

    Raises:
        UserError: where it can't be read; names the line that isn't UTF-8.
    """
    try:
        content = read_regular(file).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise UserError(f"The list {file.absolute()} can't be read: {error.strerror}.") from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise UserError(f"Line {line} of {file} isn't UTF-8 (byte 0x{byte:02x}): save the file as UTF-8.") from error


def read_rows(file: Path, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The cells of a text file's rows, the header among them, and the line that each row starts on; blank lines go.

    Raises:
        UserError: where it can't be read, or its quotes don't match.
    """
    reader = csv.reader(io.StringIO(read_text(file), newline=""), delimiter=delimiter, strict=True)
    rows, lines, line = [], [], 1
    try:
        for cells in reader:
            if cells:
                rows.append(cells)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"The row that starts in line {line} of {file} can't be read ({error}): correct it.") from error
    return rows, lines


def _delimited(file: Path, delimiter: str) -> Table:
    rows, lines = read_rows(file, delimiter)
    if not rows:
        raise UserError(f"The list {file.absolute()} is empty: its first row must name the columns.")
    names = [name.strip() for name in rows[0]]
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise UserError(f"The first row of {file} is {shown(names[0])}, without a comma: separate the cells by commas.")
    refuse_names(names, file)
    for cells, line in zip(rows, lines, strict=True):
        if len(cells) != len(names):
            raise UserError(
                f"Line {line} of {file} has {len(cells)} cells where the first row names {len(names)} columns: correct "
                "it (a cell with a comma in it must be quoted)."
            )
    columns = zip(*rows[1:], strict=True) if len(rows) > 1 else ([] for _ in names)
    return Table(file, dict(zip(names, columns, strict=True)), lines[1:])


def refuse_names(names: Sequence[str], file: Path) -> None:
    """Refuse columns without a name, and two of the same.

    Raises:
        UserError: naming the first.
    """
    for number, name in enumerate(names, 1):
        if not name:
            raise UserError(
                f"Column {number} of {file} has no name: name it, or leave it out (pandas writes its index there "
                "unless told index=False)."
            )
        if names.index(name) < number - 1:
            raise UserError(f"{file} has two columns named {name}: rename one, or leave it out.")


def _json_lines(file: Path) -> Table:
    rows: list[dict[str, object]] = []
    lines: list[int] = []
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_without_repetition)
        except RecursionError as error:
            raise UserError(f"Line {number} of {file} can't be read as JSON: it is nested too deeply.") from error
        except ValueError as error:
            raise UserError(f"Line {number} of {file} can't be read as JSON: {first_line(error)}.") from error
        if not isinstance(row, dict):
            raise UserError(f"Line {number} of {file} is {shown(row)}, where an object is needed: name its fields.")
        rows.append(row)
        lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(file, {name: [row.get(name) for row in rows] for name in names}, lines)


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError(f"it names a field twice, among {', '.join(name for name, _ in pairs)}")
    return fields


def _parquet(file: Path) -> Table:
    try:
        with open_parquet(file) as parquet:
            refuse_names(parquet.schema_arrow.names, file)
            table = parquet.read()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The list {file.absolute()} can't be read: {first_line(error)}.") from error
    return Table(file, {name: table[name] for name in table.column_names}, None)
