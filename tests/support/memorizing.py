"""A target that has learnt its training images by heart, and fails as a killed process does."""

from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from secmi_exp.data.images import Images
from secmi_exp.diffusion.noise_predictor import Condition
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.testing import MEMORIZING_ALPHAS, MemorizingPredictor

ALPHAS = MEMORIZING_ALPHAS
T = len(ALPHAS)


class Killed(Exception):
    """Ends a sampling in the middle."""


class Memorizing(MemorizingPredictor):
    """Fails after so many predictions of batches."""

    def __init__(self, trained_on: np.ndarray, fails_after: int | None = None):
        super().__init__(trained_on)
        self.left = fails_after

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed
        return super().evaluate(x, time, condition)


def memorizing(trained_on: Images, name: str = "memorizing", fails_after: int | None = None) -> PreparedTarget:
    return PreparedTarget(Path(), name, partial(Memorizing, trained_on[:], fails_after))
