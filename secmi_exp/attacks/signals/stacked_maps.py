"""Error maps of several timesteps as the channels of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StackedMaps:
    """Maps [n, C, H, W] of k timesteps, [n, k · C, H, W], put together when a batch is asked for."""

    maps: Sequence[NDArray[np.float16]]

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, k · C, H, W]."""
        n, channels, *sides = self.maps[0].shape
        return (n, channels * len(self.maps), *sides)

    def __len__(self) -> int:
        return len(self.maps[0])

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """A batch, [B, k · C, H, W]."""
        return np.concatenate([each[rows] for each in self.maps], axis=1)
