"""The base class of defenses that change a target's training: its images, or its steps."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor

from secmi_exp.data.model_range import to_model_range
from secmi_exp.defenses.settings import DefenseSettings, Recipe
from secmi_exp.engine.training_step import TrainingStep


class Draws(Protocol):
    """Random numbers for the B images of a training step, the same on any number of devices."""

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, [B, *shape]."""

    def integers(self, below: int) -> Tensor:
        """Uniform in 0 … below − 1, [B]."""

    def choices(self, below: int, each: int) -> NDArray[np.int64]:
        """Uniform in 0 … below − 1, [B, each], on the host."""

    def happens(self, probability: float) -> Tensor:
        """True with this probability, [B]."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Defense(DefenseSettings):
    """A defense that changes images or steps. A subclass overrides the methods for what it changes."""

    def model_input(self, images: Tensor, draws: Draws) -> Tensor:
        """Turn uint8 images into what the network is trained on, float32 in [−1, 1]; both [B, C, H, W]."""
        return to_model_range(images)

    def training_step(self, recipe: Recipe, samples: int) -> TrainingStep | None:
        """Return the step to take in place of the ordinary one, for a training on so many samples; None: no other."""
        return None


def in_training(settings: DefenseSettings) -> Defense:
    """Return what a defense does in a training; one that is no `Defense` changes neither images nor steps."""
    return settings if isinstance(settings, Defense) else Defense(settings.name)
