"""The one interface through which attacks see any target."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class NoisePredictor(nn.Module, ABC):
    """ε_θ(x_t, t), whatever network and parameterisation stand behind it. Counts its queries."""

    alphas_cumprod: list[float]
    """ᾱ_0 … ᾱ_{T−1}."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = 0
        """Images whose noise has been predicted so far."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What a query evaluates: the part that is worth compiling."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Uint8 images [B, C, H, W] to x_0, the space in which the diffusion runs, in at least float32."""

    def predict_noise(self, x_t: Tensor, t: int) -> Tensor:
        """The noise in states x_t [B, …] at timestep t (0 … T−1), in the states' precision. B queries."""
        self.queries += len(x_t)
        return self._predict_noise(x_t, t)

    @abstractmethod
    def _predict_noise(self, x_t: Tensor, t: int) -> Tensor: ...
