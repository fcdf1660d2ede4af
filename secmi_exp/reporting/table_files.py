"""Tables as CSV and Parquet files; a row may lack columns."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

TableRow = Mapping[str, Any]


def column_names(rows: Sequence[TableRow]) -> list[str]:
    """Return the columns of all rows, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write_csv(path: Path, rows: Sequence[TableRow]) -> None:
    """Write all columns of all rows; a number that is missing or not finite is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, column_names(rows))
        writer.writeheader()
        writer.writerows({name: _finite(cell) for name, cell in row.items()} for row in rows)


def write_parquet(path: Path, rows: Sequence[TableRow]) -> None:
    """Write all columns of all rows; a number that is not finite is null, and an empty column holds numbers."""
    columns = {name: pa.array([_finite(row.get(name)) for row in rows]) for name in column_names(rows)}
    numbers = {name: each.cast(pa.float64()) if pa.types.is_null(each.type) else each for name, each in columns.items()}
    pa.parquet.write_table(pa.table(numbers), path)


def _finite(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
