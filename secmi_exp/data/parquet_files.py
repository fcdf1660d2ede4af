"""Opening Parquet files of other people."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from secmi_exp.files.regular import open_regular

MOST_ROWS = 2**24
"""Largest number of rows of a table: each takes some hundred bytes of memory, and a few bytes of a file can stand for
millions of rows."""


@contextmanager
def open_parquet(file: Path) -> Iterator[pa.parquet.ParquetFile]:
    """A Parquet file, by its content alone: pyarrow takes no names that aren't UTF-8, and those of folders for columns.

    Raises:
        OSError: where it is no regular file that can be read.
        pa.ArrowException: where it is no Parquet file, or has more rows than are read.
    """
    with open_regular(file) as content, pa.parquet.ParquetFile(content) as parquet:
        if not 0 <= parquet.metadata.num_rows <= MOST_ROWS:
            raise pa.ArrowInvalid(f"it has {parquet.metadata.num_rows:,} rows, and {MOST_ROWS:,} at most are read")
        yield parquet


def cells_of(column: pa.ChunkedArray) -> list[object]:
    """A column's cells as Python has them.

    Raises:
        pa.ArrowException: for texts that aren't UTF-8, and others that Python can't have.
    """
    try:
        cells: list[object] = column.to_pylist()
    except (ValueError, OverflowError) as error:
        raise pa.ArrowInvalid(str(error)) from error
    return cells
