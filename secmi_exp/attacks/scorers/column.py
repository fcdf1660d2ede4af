"""A measured number as the score."""

from typing import Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import Scorer, Scores


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Column(Scorer):
    """One of the attack's values, turned so that higher means member."""

    value: str
    """Its name."""
    members_have: Literal["less", "more"]
    """Of it, than hold-outs."""

    def score(self, measured: Measured) -> Scores:
        """The value or its negative, [n]."""
        values = np.asarray(measured.values[self.value], dtype=np.float64)
        return values if self.members_have == "more" else -values
