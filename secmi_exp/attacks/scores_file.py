"""Scores that were made elsewhere, judged and drawn like all others."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.measured import Measured
from secmi_exp.data.images import Images
from secmi_exp.errors import UserError, first_line
from secmi_exp.runtime import Runtime
from secmi_exp.store import Key, Store, file_digest
from secmi_exp.targets.interface import PreparedTarget

VERSION = 1
"""Of the reading; raised when the same file would give other scores."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ScoresFile(Attack):
    """A CSV or Parquet file with a row for each attacked image: its id, and a score. Its value is ``score``."""

    path: Path
    id_column: str
    score_column: str
    member_column: str
    """Of who is a member, which is compared with the split's, where there is one."""

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measured:
        """Read it.

        Raises:
            UserError: for a file that can't be read, lacks a column or an image, or has one twice.
        """
        scores = self._column(self.score_column)
        try:
            numbers = np.asarray(scores, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"The column {self.score_column} of {self.path} holds more than numbers: {error}."
            ) from error
        digest = Key("scores_file", VERSION, {}, {"file": file_digest(self.path), "images": images.digest}).digest
        return Measured({"score": numbers[self._rows(images)]}, queries_per_sample=0, queries_spent=0, digest=digest)

    def stated_membership(self, images: Images) -> NDArray[np.bool_] | None:
        """What the file says of the images' membership, [n]."""
        if self.member_column not in self._table.column_names:
            return None
        try:
            column = self._table[self.member_column].cast(pa.bool_())
        except pa.ArrowException as error:
            raise UserError(
                f"The column {self.member_column} of {self.path} must hold true or false: {first_line(error)}."
            ) from error
        return np.asarray(column.to_pylist(), dtype=bool)[self._rows(images)]

    def _rows(self, images: Images) -> NDArray[np.int64]:
        ids = [str(each) for each in self._column(self.id_column)]
        row = {name: number for number, name in enumerate(ids)}
        if len(row) < len(ids):
            raise UserError(f"{self.path} has {len(ids) - len(row)} ids more than once: keep one score an image.")
        missing = [name for name in images.names if name not in row]
        if missing:
            raise UserError(
                f"{self.path} has no score of {len(missing)} of the {len(images)} attacked images, the first of them "
                f"{missing[0]}: a run's scores.parquet lists their ids."
            )
        return np.array([row[name] for name in images.names])

    def _column(self, name: str) -> list[Any]:
        if name not in self._table.column_names:
            raise UserError(
                f"{self.path} has the columns {', '.join(self._table.column_names)}, and none named {name}: set "
                "attack.id_column and attack.score_column."
            )
        values: list[Any] = self._table[name].to_pylist()
        return values

    @property
    def _table(self) -> pa.Table:
        try:
            return pa.csv.read_csv(self.path) if self.path.suffix == ".csv" else pa.parquet.read_table(self.path)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"The scores in {self.path} can't be read: {first_line(error)}.") from error
