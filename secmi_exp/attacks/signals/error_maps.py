"""Error maps of one or several timesteps as one array."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ErrorMaps:
    """Maps [n, C, H, W] of k timesteps as [n, k · C, H, W], put together when a batch is read."""

    maps: Mapping[int, NDArray[np.float16]]
    """t_sec → [n, C, H, W]."""
    timesteps: tuple[int, ...]
    """Timesteps whose maps the array has, in the order of its channels."""
    alternatives: tuple[tuple[int, ...], ...] = ()
    """Further sets of timesteps, from which a scorer may choose by its own cross-validation."""

    def at(self, timesteps: Sequence[int]) -> "ErrorMaps":
        """Return the maps of other timesteps, without alternatives."""
        return ErrorMaps(self.maps, tuple(timesteps))

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, k · C, H, W]."""
        n, channels, *sides = self.maps[self.timesteps[0]].shape
        return (n, channels * len(self.timesteps), *sides)

    def __len__(self) -> int:
        return len(self.maps[self.timesteps[0]])

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """A batch, [B, k · C, H, W]."""
        return np.concatenate([self.maps[t][rows] for t in self.timesteps], axis=1)
