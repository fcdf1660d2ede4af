"""The one interface through which attacks see any target, and what a config must offer to make one."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from secmi_exp.data.images import Images
from secmi_exp.runtime import Runtime
from secmi_exp.store import Store


class NoisePredictor(nn.Module, ABC):
    """ε_θ(x_t, t), whatever network and parameterisation stand behind it. Counts its queries."""

    alphas_cumprod: list[float]
    """ᾱ_0 … ᾱ_{T−1}."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = 0
        """Images whose noise has been predicted so far."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Uint8 images [B, C, H, W] to x_0, the space in which the diffusion runs."""

    def predict_noise(self, x_t: Tensor, t: int) -> Tensor:
        """The noise in states x_t [B, …] at timestep t (0 … T−1). B queries."""
        self.queries += len(x_t)
        return self._predict_noise(x_t, t)

    @abstractmethod
    def _predict_noise(self, x_t: Tensor, t: int) -> Tensor: ...


@dataclass(frozen=True)
class PreparedTarget:
    """A target that is ready to be attacked."""

    folder: Path
    """Its weights, as a diffusers pipeline."""
    digest: str
    """What it is, for the keys of what is computed with it."""
    load: Callable[[], NoisePredictor]
    """Reads the weights."""
    trained_on: str | None = None
    """Digest of the images that it was trained on, where that is known."""
    samples: Path | None = None
    """A picture of images that it generated, where there is one."""


class Target(Protocol):
    """What a file in ``conf/target`` names."""

    name: str

    @property
    def timesteps(self) -> int:
        """T, the number of timesteps of its schedule."""

    def prepare(self, members: Images, store: Store, runtime: Runtime, logger: Logger | None) -> PreparedTarget:
        """Train it on the members, find that it was trained before, or read what was trained elsewhere.

        Args:
            members: the training images; the target sees no others.
            store: where the weights are kept.
            runtime: the machine.
            logger: where training metrics go.
        """
