"""Walks of a small target through the store."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from secmi_exp.attacks.signals.trajectories import Trajectories, compute_trajectories
from secmi_exp.data.images import Images
from secmi_exp.data.model_range import to_model_range
from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor
from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.testing import cpu_runtime
from tests.support.runs import one_run

T = 100

N = 11

MADE_IN_12 = 5 * 4 + 5 * 4 + 3 * 3
"""Queries of a walk to 40 in batches of four that fails after twelve: when it makes the third of the last batch."""

IMAGES = Images.from_pixels(np.random.default_rng(0).integers(0, 256, (N, 1, 4, 4), dtype=np.uint8))


class Killed(Exception):
    """Ends a walk in the middle."""


class Waves(NoisePredictor):
    """A convolution whose outcome depends on t; fails after so many batches, as a killed process does."""

    def __init__(self, seed: int, fails_after: float = math.inf):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        self.path = GaussianPath.from_alphas_cumprod(torch.linspace(0.99, 0.1, T).tolist())
        self.left = fails_after

    @property
    def network(self) -> nn.Module:
        return self.layer

    def encode(self, inputs: Tensor) -> Tensor:
        return to_model_range(inputs).to(torch.promote_types(self.layer.weight.dtype, torch.float32))

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise Killed
        output: Tensor = self.layer(x.to(self.layer.weight.dtype) + math.sin(time))
        return output.to(x.dtype)


def target(fails_after: float = math.inf) -> PreparedTarget:
    return PreparedTarget(Path(), "waves", partial(Waves, 0, fails_after))


def signals(
    root: Path, t_max: int, maps: list[int] | None = None, fails_after: float = math.inf, size: int = 4
) -> Trajectories:
    with one_run(root) as store:
        return compute_trajectories(
            target(fails_after), IMAGES, k=10, t_max=t_max, maps=maps or [], store=store,
            runtime=cpu_runtime(query_batch_size=size),
        )  # fmt: skip


def same(one: Trajectories, other: Trajectories) -> None:
    assert one.timesteps == other.timesteps
    assert one.queries == other.queries
    assert np.array_equal(one.t_errors, other.t_errors)
    assert one.maps.keys() == other.maps.keys()
    assert all(np.array_equal(one.maps[t], other.maps[t]) for t in one.maps)
    assert one.key == other.key
