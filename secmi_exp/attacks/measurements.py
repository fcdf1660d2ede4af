"""What an attack has measured of each image: all that its scorers see besides labels of the attack-train part."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secmi_exp.attacks.signals.trajectories import Trajectories
from secmi_exp.data.stored_rows import RowArray
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Input


@dataclass(frozen=True)
class Measurements:
    """Numbers, maps, or the images themselves, n of each."""

    values: Mapping[str, RowArray]
    """Name → [n, …]."""
    queries_per_sample: int
    """Queries of the target, counted at the noise predictor; 0 where it was not queried."""
    queries_spent: int
    """Queries made for it that no results include yet, over all samples; see `QueryTally`."""
    key: Input
    """Identifies them in the keys of what is computed from them."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """How it was measured, for results.json."""
    trajectory: Trajectories | None = None
    """SecMI's t-errors at all timesteps."""
    copied: NDArray[np.bool_] | None = None
    """Whether a sample of the target copies the image, by a published criterion, [n]; None if not checked."""
    last_timestep: int | None = None
    """The last timestep of a query; None where the trajectory has it, or nothing was queried."""
    unlisted: frozenset[str] = frozenset()
    """Names of numbers that are too many to have a column each in scores.parquet; ``features`` has them too."""

    @property
    def numbers(self) -> dict[str, NDArray[Any]]:
        """The values that are one number an image, name → [n]."""
        return {name: np.asarray(value) for name, value in self.values.items() if len(value.shape) == 1}
