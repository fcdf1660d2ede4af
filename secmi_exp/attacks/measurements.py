"""What an attack has measured of each image: all that its scorers see besides labels of the attack-train part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secmi_exp.store import Input, Json

if TYPE_CHECKING:
    from secmi_exp.attacks.signals.trajectories import Trajectories
    from secmi_exp.engine.batches import Array


@dataclass(frozen=True)
class Measurements:
    """Numbers, maps, or the images themselves, n of each."""

    values: Mapping[str, Array]
    """Name → [n, …]."""
    queries_per_sample: int
    """Of the target, counted at the noise predictor; 0 where it was not asked."""
    queries_spent: int
    """Queries made for it that no results have told yet, over all samples; see `QueryTally`."""
    key: Input
    """What they are, for the keys of what is computed from them."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """What a reader of the results has to know of how it was measured."""
    trajectory: Signals | None = None
    """Of SecMI: the t-errors at all timesteps."""
    last_timestep: int | None = None
    """The last one that the target was asked about; None where the trajectory, or nothing, tells it."""

    @property
    def numbers(self) -> dict[str, NDArray[Any]]:
        """Those values that are one number an image, name → [n]."""
        return {name: np.asarray(value) for name, value in self.values.items() if len(value.shape) == 1}
