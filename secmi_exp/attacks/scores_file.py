"""Scores that were made elsewhere, judged and drawn like all others."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import TargetFree
from secmi_exp.attacks.measured import Measured
from secmi_exp.data.file_lists import read_table, refuse_repeated, stated_membership
from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.store import Key, file_digest

VERSION = 1
"""Of the reading; raised when the same file would give other scores."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ScoresFile(TargetFree):
    """A CSV or Parquet file with a row for each attacked image: its id, and a score. Its value is ``score``."""

    path: Path
    id_column: str
    score_column: str
    member_column: str
    """Of who is a member, which is compared with the split's, where there is one."""

    def look(self, images: Images) -> Measured:
        """Read it.

        Raises:
            UserError: for a file that can't be read, lacks a column or an image, or has one twice, and for an attacked
                image whose score is empty or not finite.
        """
        try:
            numbers = np.asarray(self._column(self.score_column), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(f"The column {self.score_column} of {self.path} must hold numbers: {error}.") from error
        rows = self._rows(images)
        scores = numbers[rows]
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            first = bad[0]
            raise UserError(
                f"{self.path} has no finite {self.score_column} for {len(bad)} of the {len(images)} attacked images, "
                f"the first of them {images.names[first]} in row {rows[first] + 1} "
                f"({'empty or NaN' if np.isnan(scores[first]) else scores[first]}): give each image a number."
            )
        digest = Key("scores_file", VERSION, {}, {"file": file_digest(self.path), "images": images.digest}).digest
        return Measured({"score": scores}, queries_per_sample=0, queries_spent=0, digest=digest)

    def stated_membership(self, images: Images) -> NDArray[np.bool_] | None:
        """What the file says of the images' membership, [n]."""
        if self.member_column not in self._table.column_names:
            return None
        return stated_membership(self._table, self.path, self.member_column)[self._rows(images)]

    def _rows(self, images: Images) -> NDArray[np.int64]:
        ids = [str(each) for each in self._column(self.id_column)]
        refuse_repeated(ids, self.path)
        row = {name: number for number, name in enumerate(ids)}
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

    @cached_property
    def _table(self) -> pa.Table:
        return read_table(self.path)
