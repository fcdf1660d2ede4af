"""Scores that were made elsewhere, judged and drawn like all others."""

from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import TargetFree
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.file_lists import refuse_repeated
from secmi_exp.data.images import Images
from secmi_exp.data.tables import Table, read_table
from secmi_exp.errors import UserError
from secmi_exp.formatting import unicode_name
from secmi_exp.store import Input, Key, file_digest
from secmi_exp.store.class_identity import outside_classes

VERSION = 1
"""Version of the reading; raised when the same file would give other scores."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ScoresFile(TargetFree):
    """A table (see `read_table`) with a row for each attacked image: its id, and a score. Its value is ``score``.

    The images are the dataset's, or, with ``dataset=scored_images``, those that the table itself lists.
    """

    values: ClassVar[tuple[str, ...]] = ("score",)

    path: UserPath
    id_column: str
    score_column: str
    member_column: str
    """Column that says who is a member; compared with the split, where the table has it (see `ScoredImages` too)."""

    def measure_images(self, images: Images) -> Measurements:
        """Read it.

        Raises:
            UserError: for a file that can't be read, lacks a column or an image, or has one twice, and for an attacked
                image whose score is empty or not finite.
        """
        rows = self._rows(images)
        scores = self._table.numbers(self.score_column, "set attack.score_column")[rows]
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            first = bad[0]
            raise UserError(
                f"{self.path} has no finite {self.score_column} for {len(bad)} of the {len(images)} attacked images, "
                f"the first of them {images.names[first]} in {self._table.place(int(rows[first]))} "
                f"({'NaN' if np.isnan(scores[first]) else scores[first]}): give each image a number."
            )
        inputs: dict[str, Input] = {"file": file_digest(self.path), "images": images.digest}
        key = Key("scores_file", VERSION, outside_classes(attack=self), inputs)
        return Measurements({"score": scores}, queries_per_sample=0, queries_spent=0, key=key)

    def stated_membership(self, images: Images) -> NDArray[np.bool_] | None:
        """Return the membership that the file states, [n]; None where it has no such column."""
        if self.member_column not in self._table.names:
            return None
        return self._table.truths(self.member_column)[self._rows(images)]

    def _rows(self, images: Images) -> NDArray[np.int64]:
        ids = [unicode_name(each) for each in self._table.texts(self.id_column, "set attack.id_column")]
        refuse_repeated(ids, self.path)
        row = {name: number for number, name in enumerate(ids)}
        missing = [name for name in images.names if name not in row]
        if missing:
            raise UserError(
                f"{self.path} has no score of {len(missing)} of the {len(images)} attacked images, the first of them "
                f"{missing[0]}: a run's scores.parquet lists their ids."
            )
        return np.array([row[name] for name in images.names])

    @cached_property
    def _table(self) -> Table:
        return read_table(self.path)
