"""SimA: the size of the prediction at the image itself; and its Monte-Carlo form.

Source: Rao, Qu, Moyer, "Score-based Membership Inference on Diffusion Models" (2025).
"""

from typing import ClassVar

from pydantic import ConfigDict, NonNegativeInt, PositiveFloat
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.query_attack import QueryAttack
from secmi_exp.attacks.signals.query_batch import QueryBatch, norm
from secmi_exp.torch_on_use import Tensor, torch


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SimA(QueryAttack):
    """Its value is ``prediction_norm``; members have less. One query, or one a noise."""

    version: ClassVar[int] = 1
    values: ClassVar[tuple[str, ...]] = ("prediction_norm",)

    t: NonNegativeInt
    p: PositiveFloat
    """Order of the norm."""
    noises: NonNegativeInt
    """0: the image itself, neither noised nor scaled; else the Monte-Carlo form with so many noises."""
    seed: NonNegativeInt
    """Seed of the noises."""

    @property
    def queried_timesteps(self) -> dict[str, int]:
        """See `QueryAttack.queried_timesteps`."""
        return {"t": self.t}

    def query(self, batch: QueryBatch) -> dict[str, Tensor]:
        """‖ε̂(x_0, t)‖_p, or the mean over noises of ‖ε̂(α_t x_0 + σ_t ε, t)‖_p. [B].

        Published for DDPM, with α = √ᾱ and σ = √(1−ᾱ). On any path ε̂ = −σ_t ∇ log p_t(x), p_t being the density of
        states at t: the attack measures the score there, whatever the network predicts.
        """
        if not self.noises:
            return {"prediction_norm": norm(batch.predict_noise(batch.x_0, self.t), self.p)}
        states = (batch.add_noise(batch.noise(self.seed, j), self.t) for j in range(self.noises))
        norms = [norm(batch.predict_noise(x_t, self.t), self.p) for x_t in states]
        return {"prediction_norm": torch.stack(norms).mean(dim=0)}
