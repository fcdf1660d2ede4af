"""The denoising loss at one timestep, averaged over seeded noises.

Source: Matsumoto et al., "Membership Inference Attacks against Diffusion Models" (IEEE SPW 2023); Carlini et al.,
"Extracting Training Data from Diffusion Models" (USENIX Security 2023), there with shadow models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.asked import AskingAttack

if TYPE_CHECKING:
    from torch import Tensor

    from secmi_exp.attacks.question import Question
    from secmi_exp.targets.noise_predictor import NoisePredictor


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Loss(AskingAttack):
    """Its value is ``loss``; members have less."""

    version: ClassVar[int] = 1

    t: NonNegativeInt
    noises: PositiveInt

    @property
    def asked_timesteps(self) -> dict[str, int]:
        """One."""
        return {"t": self.t}

    def columns(self, predictor: NoisePredictor) -> list[str]:
        """One."""
        return ["loss"]

    def values(self, question: Question) -> Tensor:
        """Mean over the noises of ‖ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t) − ε‖² / d. [B, 1]."""
        total = question.loss(self.t, 0)
        for j in range(1, self.noises):
            total = total + question.loss(self.t, j)
        return total[:, None] / self.noises
