"""The noise that samples of a target begin with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class InitialNoise:
    """x_T of M samples, made when a batch is asked for: each depends on its number and the seed alone."""

    seed: int
    count: int
    """M."""
    image: tuple[int, ...]
    """(C, H, W)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, C, H, W)."""
        return (self.count, *self.image)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Standard normal numbers, [B, C, H, W]."""
        numbers = np.arange(self.count)[rows]
        draws = [np.random.default_rng([self.seed, number]) for number in numbers.tolist()]
        return np.stack([draw.standard_normal(self.image, dtype=np.float32) for draw in draws])
