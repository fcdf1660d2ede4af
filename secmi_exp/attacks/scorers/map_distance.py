"""SecMI with another distance than the squared L2 norm between a state and its round trip."""

from typing import ClassVar

import numpy as np
from pydantic import ConfigDict, PositiveFloat
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import Scorer, Scores
from secmi_exp.data.slices import slices

BATCH = 1024
"""Maps at a time."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MapDistance(Scorer):
    """−‖ψ(φ(x̃_t)) − x̃_t‖_p, from the error maps, which are kept in float16."""

    reads: ClassVar[tuple[str, ...]] = ("error_map",)

    p: PositiveFloat
    """Of the norm; 2 ranks as SecMI_stat does, but for the maps' rounding."""

    def score(self, measured: Measured) -> Scores:
        """Members come back closer, [n]."""
        maps = measured.values["error_map"]
        norms = []
        for rows in slices(len(maps), BATCH):
            batch = maps[rows].astype(np.float64)
            norms.append(np.linalg.norm(batch.reshape(len(batch), -1), self.p, axis=1))
        return -np.concatenate(norms)
