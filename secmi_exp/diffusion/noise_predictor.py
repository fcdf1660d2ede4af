"""The one interface through which attacks see any target."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor, nn

from secmi_exp.diffusion.ddim import denoised

Condition = Mapping[str, Tensor]
"""What a prediction depends on besides state and timestep, such as the embedding of a prompt: name → [B, …]."""

NOTHING: Condition = MappingProxyType({})


class NoisePredictor(nn.Module, ABC):
    """ε_θ(x_t, t), whatever network and parameterisation stand behind it. Counts its queries."""

    alphas_cumprod: list[float]
    """ᾱ_0 … ᾱ_{T−1}."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = 0
        """Images whose noise has been predicted so far."""
        self.record_queries: Callable[[int], object] | None = None
        """Called with that number before each prediction."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What a query evaluates: the part that is worth compiling."""

    @property
    def evaluations(self) -> int:
        """Times that the network is evaluated for one prediction of an image's noise, each of which is a query."""
        return 1

    @abstractmethod
    def encode(self, inputs: Tensor) -> Tensor:
        """The target's inputs [B, …], as `Inputs.arrays` gives them, to x_0, the space in which the diffusion runs.

        Pixel models take uint8 images; what a latent model takes has passed its encoder already. In at least float32.
        """

    def predict_noise(self, x_t: Tensor, t: int, condition: Condition = NOTHING) -> Tensor:
        """The noise in states x_t [B, …] at timestep t (0 … T−1), in the states' precision."""
        self._count(x_t)
        return self._predict_noise(x_t, t, condition)

    def predict_image(self, x_t: Tensor, t: int, condition: Condition = NOTHING) -> Tensor:
        """The image x̂_0 in states x_t [B, …] at timestep t, in the states' precision; as many queries as the noise.

        Other than from the noise, x̂_0 can be had of it where ᾱ_t is 0 (see `Timesteps.last_image`).
        """
        self._count(x_t)
        return self._predict_image(x_t, t, condition)

    def _count(self, x_t: Tensor) -> None:
        self.queries += len(x_t) * self.evaluations
        if self.record_queries:
            self.record_queries(self.queries)

    @abstractmethod
    def _predict_noise(self, x_t: Tensor, t: int, condition: Condition) -> Tensor: ...

    def _predict_image(self, x_t: Tensor, t: int, condition: Condition) -> Tensor:
        return denoised(x_t, self._predict_noise(x_t, t, condition), self.alphas_cumprod[t])
