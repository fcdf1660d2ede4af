"""SimA: the size of the prediction at the image itself; and its Monte-Carlo form.

Source: Rao, Qu, Moyer, "Score-based Membership Inference on Diffusion Models" (2025).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, NonNegativeInt, PositiveFloat
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.query_attack import QueryAttack

if TYPE_CHECKING:
    from torch import Tensor

    from secmi_exp.attacks.signals.query_batch import QueryBatch
    from secmi_exp.diffusion.noise_predictor import NoisePredictor


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SimA(QueryAttack):
    """Its value is ``prediction_norm``; members have less. One query, or one a noise."""

    version: ClassVar[int] = 1

    t: NonNegativeInt
    p: PositiveFloat
    """Of the norm."""
    noises: NonNegativeInt
    """0: the image itself, neither noised nor scaled; else the Monte-Carlo form with so many noises."""
    seed: NonNegativeInt
    """Of the noises."""

    @property
    def queried_timesteps(self) -> dict[str, int]:
        """One."""
        return {"t": self.t}

    @property
    def measured_names(self) -> frozenset[str]:
        """See `Attack.measured_names`."""
        return frozenset({"prediction_norm", "features", "pixels"})

    def columns(self, predictor: NoisePredictor) -> list[str]:
        """One."""
        return ["prediction_norm"]

    def values(self, question: Question) -> Tensor:
        """‖ε_θ(x_0, t)‖_p, or the mean over noises of ‖ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t)‖_p. [B, 1]."""
        import torch

        from secmi_exp.attacks.signals.query_batch import norm

        if not self.noises:
            return norm(question.predict(question.x_0, self.t), self.p)[:, None]
        states = (question.state(question.noise(self.seed, j), self.t) for j in range(self.noises))
        return torch.stack([norm(question.predict(x_t, self.t), self.p) for x_t in states]).mean(dim=0)[:, None]
