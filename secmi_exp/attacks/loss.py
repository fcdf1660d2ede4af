"""The denoising loss at one timestep, averaged over seeded noises.

Source: Matsumoto et al., "Membership Inference Attacks against Diffusion Models" (IEEE SPW 2023); Carlini et al.,
"Extracting Training Data from Diffusion Models" (USENIX Security 2023), there with shadow models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.query_attack import QueryAttack

if TYPE_CHECKING:
    from torch import Tensor

    from secmi_exp.attacks.signals.query_batch import QueryBatch
    from secmi_exp.diffusion.noise_predictor import NoisePredictor


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Loss(QueryAttack):
    """Its value is ``loss``, the mean over timesteps; members have less. Where there are several, ``loss_T`` too."""

    version: ClassVar[int] = 1

    t: NonNegativeInt | list[NonNegativeInt]
    noises: PositiveInt
    seed: NonNegativeInt
    """Of the noises."""

    @property
    def queried_timesteps(self) -> dict[str, int]:
        """The last."""
        return {"t": max(self._timesteps)}

    @property
    def _timesteps(self) -> list[int]:
        return self.t if isinstance(self.t, list) else [self.t]

    @property
    def _names(self) -> list[str]:
        return ["loss", *([f"loss_{t}" for t in self._timesteps] if len(self._timesteps) > 1 else [])]

    @property
    def measured_names(self) -> frozenset[str]:
        """See `Attack.measured_names`."""
        return frozenset({*self._names, "features", "pixels"})

    def columns(self, predictor: NoisePredictor) -> list[str]:
        """The mean, and the parts that it has."""
        return self._names

    def values(self, question: Question) -> Tensor:
        """Mean over the noises of ‖ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t) − ε‖² / d. [B, F]."""
        import torch

        parts = torch.stack(
            [
                torch.stack([question.loss(t, self.seed, j) for j in range(self.noises)]).mean(dim=0)
                for t in self._timesteps
            ],
            dim=1,
        )
        mean = parts.mean(dim=1, keepdim=True)
        return torch.cat([mean, parts], dim=1) if parts.shape[1] > 1 else mean
