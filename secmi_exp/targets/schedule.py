"""The ᾱ that a network was trained with, and how its output becomes a prediction of the noise.

Source of v: Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (ICLR 2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.ddim import alphas_cumprod_from_betas
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.errors import UserError
from secmi_exp.targets.noise_schedule import Prediction

make_scheduler = Deferred("secmi_exp.targets.loading.schedulers:make_scheduler")

ROUNDING = 1e-5
"""Upper bound of the distance between a float32 scheduler's ᾱ, or its stand-in for 0, and the ᾱ of its betas."""


@dataclass(frozen=True)
class Schedule:
    """ᾱ, and the kind of the network's prediction."""

    alphas_cumprod: list[float]
    """ᾱ_0 … ᾱ_{T−1}."""
    prediction: Prediction

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: Path | str = "the scheduler's description") -> Schedule:
        """Read the schedule of any of diffusers' schedulers, whatever its way of sampling.

        Args:
            config: settings that diffusers wrote for the scheduler.
            source: the file that they come from, for messages.

        ᾱ is the product of its betas in float64. Some schedulers put a small number in place of a last ᾱ of 0, for
        their own way of sampling; the network was trained with 0. Others shift ᾱ after the product: theirs is taken.

        Raises:
            UserError: for a scheduler without ᾱ, an ᾱ outside of [0, 1] or that leaves no image at timestep 0 or no
                noise at the last, settings that no scheduler can have, and a prediction that is none of ε, v and x_0.
        """
        scheduler = make_scheduler(config, source)
        name = type(scheduler).__name__
        if not (hasattr(scheduler, "betas") and hasattr(scheduler, "alphas_cumprod")):
            raise UserError(f"The scheduler {name} has no ᾱ, which SecMI's steps are made of: use a DDPMScheduler.")
        prediction = scheduler.config.get("prediction_type", "epsilon")
        if prediction not in get_args(Prediction):
            raise UserError(
                f"The scheduler {name} has prediction_type={prediction!r}, from which the noise can't be computed: it "
                f"must be one of {', '.join(get_args(Prediction))}."
            )
        schedule = cls(_alphas_cumprod(scheduler), prediction)
        if not all(0.0 <= alpha_bar <= 1.0 for alpha_bar in schedule.alphas_cumprod):
            raise UserError(f"The scheduler {name} has betas outside of [0, 1]: correct its settings.")
        if schedule.alphas_cumprod[0] == 0.0 or schedule.alphas_cumprod[-1] == 1.0:
            what = "leaves no image at timestep 0" if schedule.alphas_cumprod[0] == 0.0 else "adds no noise at all"
            raise UserError(f"The scheduler {name} of {source} {what}: correct its betas.")
        if prediction == "sample" and schedule.alphas_cumprod[0] == 1.0:
            raise UserError(
                f"The scheduler {name} adds no noise at timestep 0 (its first beta is 0), so that the noise can't be "
                "computed from its prediction_type='sample' there: such a target can't be attacked."
            )
        return schedule

    @cached_property
    def timesteps(self) -> Timesteps:
        """T, and up to which timestep noise and image can be computed from the prediction."""
        return Timesteps.of(self.alphas_cumprod, predicts_noise=self.prediction == "epsilon")

    def noise(self, output: Tensor, x_t: Tensor, t: int) -> Tensor:
        """Compute ε from a network's output at timestep t.

        From v: ε = √ᾱ_t v + √(1−ᾱ_t) x_t. From x_0: ε = (x_t − √ᾱ_t x_0) / √(1−ᾱ_t).

        Args:
            output: ε, v or x_0, [B, C, H, W].
            x_t: the states that it was predicted from, [B, C, H, W].
            t: 0 … T−1.

        >>> import torch
        >>> x_0, eps = torch.tensor([2.0]), torch.tensor([1.0])
        >>> x_t = 0.6 * x_0 + 0.8 * eps
        >>> round(Schedule([0.36], "sample").noise(x_0, x_t, 0).item(), 6)
        1.0
        >>> round(Schedule([0.36], "v_prediction").noise(0.6 * eps - 0.8 * x_0, x_t, 0).item(), 6)
        1.0
        """
        if self.prediction == "epsilon":
            return output
        alpha, sigma = math.sqrt(self.alphas_cumprod[t]), math.sqrt(1.0 - self.alphas_cumprod[t])
        return alpha * output + sigma * x_t if self.prediction == "v_prediction" else (x_t - alpha * output) / sigma

    def image(self, output: Tensor, x_t: Tensor, t: int) -> Tensor:
        """Compute x̂_0 from a network's output at timestep t, where ᾱ_t may be 0 unless the output is ε.

        From ε: x̂_0 = (x_t − √(1−ᾱ_t) ε) / √ᾱ_t. From v: x̂_0 = √ᾱ_t x_t − √(1−ᾱ_t) v.

        Args:
            output: ε, v or x_0, [B, C, H, W].
            x_t: the states that it was predicted from, [B, C, H, W].
            t: 0 … T−1; at most `Timesteps.last_image`.

        >>> import torch
        >>> Schedule([0.0], "v_prediction").image(torch.tensor([-2.0]), torch.tensor([1.0]), 0).item()
        2.0
        """
        if self.prediction == "sample":
            return output
        alpha, sigma = math.sqrt(self.alphas_cumprod[t]), math.sqrt(1.0 - self.alphas_cumprod[t])
        return alpha * x_t - sigma * output if self.prediction == "v_prediction" else (x_t - sigma * output) / alpha


def _alphas_cumprod(scheduler: Any) -> list[float]:
    of_betas, own = alphas_cumprod_from_betas(scheduler.betas), scheduler.alphas_cumprod.double()
    shifted = bool(((of_betas - own).abs() > ROUNDING).any())
    alphas_cumprod: list[float] = (own if shifted else of_betas).tolist()
    return alphas_cumprod
