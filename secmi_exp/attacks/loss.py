"""The denoising loss at one timestep, averaged over seeded noises.

Source: Matsumoto et al., "Membership Inference Attacks against Diffusion Models" (IEEE SPW 2023); Carlini et al.,
"Extracting Training Data from Diffusion Models" (USENIX Security 2023), there with shadow models.
"""

from typing import ClassVar

from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.query_attack import QueryAttack
from secmi_exp.attacks.signals.query_batch import QueryBatch
from secmi_exp.torch_on_use import Tensor, torch


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Loss(QueryAttack):
    """Its value is ``loss``, the mean over timesteps; members have less. Where there are several, ``loss_T`` too."""

    version: ClassVar[int] = 1

    t: NonNegativeInt | list[NonNegativeInt]
    noises: PositiveInt
    seed: NonNegativeInt
    """Seed of the noises."""

    @property
    def measured_names(self) -> frozenset[str]:
        """See `Attack.measured_names`; known without torch."""
        return frozenset({"loss", *self._by_timestep, "features", "pixels"})

    @property
    def queried_timesteps(self) -> dict[str, int]:
        """See `QueryAttack.queried_timesteps`."""
        return {"t": max(self._timesteps)}

    @property
    def _timesteps(self) -> list[int]:
        return self.t if isinstance(self.t, list) else [self.t]

    @property
    def _by_timestep(self) -> list[str]:
        """Names of the values of single timesteps, where there are several."""
        return [f"loss_{t}" for t in self._timesteps] if len(self._timesteps) > 1 else []

    def query(self, batch: QueryBatch) -> dict[str, Tensor]:
        """Mean over the noises of ‖ε̂(α_t x_0 + σ_t ε, t) − ε‖² / d. [B].

        Published for DDPM, with α = √ᾱ and σ = √(1−ᾱ). On other paths it is the loss of the ε̂ that follows from the
        output: as x̂_0 − x_0 = −(σ_t/α_t) (ε̂ − ε), and v̂ − v = (ε̂ − ε)/α_t for a flow, any other loss is the same up to
        a factor that depends on t alone.
        """
        losses = [
            torch.stack([batch.loss(t, self.seed, j) for j in range(self.noises)]).mean(dim=0) for t in self._timesteps
        ]
        mean = torch.stack(losses, dim=1).mean(dim=1)
        return {"loss": mean, **dict(zip(self._by_timestep, losses, strict=False))}
