"""PIA and PIAN: the prediction at timestep 0 serves as the noise.

Source: Kong et al., "An Efficient Membership Inference Attack for the Diffusion Model by Proximal Initialization" (ICLR
2024), equations 9 and 10.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, NonNegativeInt, PositiveFloat
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.query_attack import QueryAttack

if TYPE_CHECKING:
    from torch import Tensor

    from secmi_exp.attacks.signals.query_batch import QueryBatch
    from secmi_exp.diffusion.noise_predictor import NoisePredictor


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PIA(QueryAttack):
    """Its value is ``proximal_error``; members have less. Two queries."""

    version: ClassVar[int] = 1

    t: NonNegativeInt
    p: PositiveFloat
    """Of the norm."""
    normalize: bool
    """Whether the prediction is scaled to the mean absolute value of standard normal noise: PIAN."""

    @property
    def queried_timesteps(self) -> dict[str, int]:
        """One."""
        return {"t": self.t}

    @property
    def measured_names(self) -> frozenset[str]:
        """See `Attack.measured_names`."""
        return frozenset({"proximal_error", "features", "pixels"})

    def columns(self, predictor: NoisePredictor) -> list[str]:
        """One."""
        return ["proximal_error"]

    def values(self, question: Question) -> Tensor:
        """‖ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε_0, t) − ε_0‖_p with ε_0 = ε_θ(x_0, 0), normalised for PIAN. [B, 1]."""
        from secmi_exp.attacks.signals.query_batch import norm

        eps = question.predict(question.x_0, 0)
        if self.normalize:
            eps = normalized(eps)
        return norm(question.predict(question.state(eps, self.t), self.t) - eps, self.p)[:, None]


def normalized(eps: Tensor) -> Tensor:
    """Scale each image's noise [B, …] so that its mean absolute value is √(2/π), a standard normal number's.

    The authors' code does so; the paper's equation 10 has √(π/2), which misses that value by a factor of π/2.

    Noise that is 0 everywhere has no scale, and stays as it is.

    >>> import torch
    >>> round(normalized(torch.tensor([[3.0, -1.0]])).abs().mean().item() ** 2, 4)
    0.6366
    """
    from torch import finfo

    mean = eps.flatten(1).abs().mean(dim=1).reshape(-1, *[1] * (eps.dim() - 1))
    return eps * (math.sqrt(2.0 / math.pi) / mean.clamp_min(finfo(mean.dtype).tiny))
