"""A batch in place of a target's, to see which values an attack returns."""

from typing import Any

import torch
from torch import Tensor

from secmi_exp.attacks.signals.query_batch import QueryBatch
from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor
from secmi_exp.diffusion.path import GaussianPath


def trial_batch() -> QueryBatch:
    """Make a batch of one gray image, with zeros as its predictions, to see which values an attack returns."""
    return QueryBatch(TrialPredictor(), torch.zeros(1, 3, 8, 8), {})


class TrialPredictor(NoisePredictor):
    """Stands for a target of any schedule, without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.path = GaussianPath(AlwaysHalf([0.5]), AlwaysHalf([0.5]))

    @property
    def network(self) -> torch.nn.Module:
        """None is needed."""
        return torch.nn.Identity()

    def encode(self, inputs: Tensor) -> Tensor:
        """Return them."""
        return inputs

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(x)


class AlwaysHalf(list[float]):
    """α and σ of any timestep."""

    def __getitem__(self, t: Any) -> Any:
        return 0.5
