"""The one interface through which attacks see any target."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from secmi_exp.diffusion.path import GaussianPath

Condition = Mapping[str, Tensor]
"""What a prediction depends on besides state and timestep, such as the embedding of a prompt: name → [B, …]."""

NOTHING: Condition = MappingProxyType({})

NEGATIVE = "negative_"
"""Beginning of the names of conditions that guidance leads away from, such as the empty prompt's."""


class NoisePredictor(nn.Module, ABC):
    """ε̂ and x̂_0 at any timestep of a path, whatever network and parameterisation they come from. Counts its queries."""

    path: GaussianPath
    """α and σ of each timestep, and what the network's output is."""
    can_be_kept: ClassVar[bool] = False
    """Whether jobs of a sweep can share its weights: a `copy.deepcopy` must have nothing else in common with it, which
    isn't known of networks of one's own."""
    guidance: float = 1.0
    """w of classifier-free guidance; 1: none."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = 0
        """Images whose noise has been predicted so far."""
        self.record_queries: Callable[[], object] | None = None
        """Called before each prediction, which is counted already."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What a query evaluates: the part that is worth compiling."""

    @property
    def evaluations(self) -> int:
        """Times that the network is evaluated for one prediction of an image's noise, each of which is a query.

        Two with guidance: with and without the condition.
        """
        return 1 if self.guidance == 1.0 else 2

    @abstractmethod
    def encode(self, inputs: Tensor) -> Tensor:
        """The target's inputs [B, …], as `Inputs.arrays` gives them, to x_0, the space in which the diffusion runs.

        Pixel models take uint8 images; what a latent model takes has passed its encoder already. In at least float32.
        """

    @abstractmethod
    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        """Evaluate the network.

        Args:
            x: `GaussianPath.model_input` of the states, [B, …].
            time: `GaussianPath.model_time`; a whole number where the network's time is the timestep.
            condition: name → [B, …].

        Returns:
            What `GaussianPath.prediction` says, in the shape and precision of ``x``.
        """

    def predict_noise(self, x_t: Tensor, t: int, condition: Condition = NOTHING) -> Tensor:
        """The noise in states x_t [B, …] at timestep t (0 … T−1), in the states' precision."""
        return self.path.noise(self._output(x_t, t, condition), x_t, t)

    def predict_image(self, x_t: Tensor, t: int, condition: Condition = NOTHING) -> Tensor:
        """The image x̂_0 in states x_t [B, …] at timestep t, in the states' precision; as many queries as the noise.

        Other than from the noise, x̂_0 can be had of it where α_t is 0 (see `Timesteps.last_image`).
        """
        return self.path.image(self._output(x_t, t, condition), x_t, t)

    def _output(self, x_t: Tensor, t: int, condition: Condition) -> Tensor:
        """Count a query, and evaluate the network; with guidance, away from the negative condition."""
        self.queries += len(x_t) * self.evaluations
        if self.record_queries:
            self.record_queries()
        x, time = self.path.model_input(x_t, t), self.path.model_time(t)
        if self.guidance == 1.0:
            return self.evaluate(x, time, condition)
        pairs = {
            name: torch.cat([condition[NEGATIVE + name], value])
            for name, value in condition.items()
            if not name.startswith(NEGATIVE)
        }
        negative, positive = self.evaluate(torch.cat([x, x]), time, pairs).chunk(2)
        return negative + self.guidance * (positive - negative)


def times_of(x: Tensor, time: float) -> Tensor:
    """The time of each of the states [B, …], on their device: [B]; a number would be waited for, or compiled in.

    >>> times_of(torch.zeros(2, 1), 3).tolist(), times_of(torch.zeros(2, 1), 0.5).dtype
    ([3, 3], torch.float32)
    """
    return torch.full((len(x),), time, device=x.device)
