"""PIA and PIAN: the prediction at timestep 0 serves as the noise.

Source: Kong et al., "An Efficient Membership Inference Attack for the Diffusion Model by Proximal Initialization" (ICLR
2024), equations 9 and 10.
"""

import math
from typing import ClassVar

from pydantic import ConfigDict, NonNegativeInt, PositiveFloat
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.query_attack import QueryAttack
from secmi_exp.attacks.signals.query_batch import QueryBatch, norm
from secmi_exp.torch_on_use import Tensor, torch


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PIA(QueryAttack):
    """Its value is ``proximal_error``; members have less. Two queries."""

    version: ClassVar[int] = 1
    values: ClassVar[tuple[str, ...]] = ("proximal_error",)

    t: NonNegativeInt
    p: PositiveFloat
    """Order of the norm."""
    normalize: bool
    """Whether the prediction is scaled to the mean absolute value of standard normal noise: PIAN."""

    @property
    def queried_timesteps(self) -> dict[str, int]:
        """See `QueryAttack.queried_timesteps`."""
        return {"t": self.t}

    def query(self, batch: QueryBatch) -> dict[str, Tensor]:
        """‖ε̂(α_t x_0 + σ_t ε_0, t) − ε_0‖_p with ε_0 = ε̂(x_0, 0), normalised for PIAN. [B].

        Published for DDPM, where α = √ᾱ and σ = √(1−ᾱ). On any path the state of x_0 and ε_0 is α_t x_0 + σ_t ε_0, and
        ε̂ follows from whatever the network predicts, so that the same difference is defined.
        """
        eps = batch.predict_noise(batch.x_0, 0)
        if self.normalize:
            eps = normalized(eps)
        return {"proximal_error": norm(batch.predict_noise(batch.add_noise(eps, self.t), self.t) - eps, self.p)}


def normalized(eps: Tensor) -> Tensor:
    """Scale each image's noise [B, …] so that its mean absolute value is √(2/π), a standard normal number's.

    The authors' code does so; the paper's equation 10 has √(π/2), which misses that value by a factor of π/2.

    Noise that is 0 everywhere has no scale, and stays as it is.

    >>> import torch
    >>> round(normalized(torch.tensor([[3.0, -1.0]])).abs().mean().item() ** 2, 4)
    0.6366
    """
    mean = eps.flatten(1).abs().mean(dim=1).reshape(-1, *[1] * (eps.dim() - 1))
    return eps * (math.sqrt(2.0 / math.pi) / mean.clamp_min(torch.finfo(mean.dtype).tiny))
