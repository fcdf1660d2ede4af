"""The noise schedule that a network was trained with, and how its output becomes a prediction of the noise.

Source of v: Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (ICLR 2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import pydantic.dataclasses
from pydantic import ConfigDict, Field

from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.errors import UserError
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import MOST_TIMESTEPS, Scheduler
from secmi_exp.targets.loading.weights import reason

if TYPE_CHECKING:
    from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample"]
"""What a network is trained to give: ε, v = √ᾱ_t ε − √(1−ᾱ_t) x_0, or x_0; in diffusers' words."""

Beta = Annotated[float, Field(gt=0, lt=1)]

ROUNDING = 1e-5
"""ᾱ of a scheduler in float32, and its stand-in for 0, lie that close to the ᾱ of its betas."""


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NoiseSchedule:
    """Arguments of `DDPMScheduler`."""

    num_train_timesteps: Annotated[int, Field(gt=0, le=MOST_TIMESTEPS)]
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
    beta_start: Beta
    beta_end: Beta

    @property
    def timesteps(self) -> Timesteps:
        """All of them tell noise and image: ᾱ is above 0."""
        return Timesteps.with_signal_everywhere(self.num_train_timesteps)


@dataclass(frozen=True)
class Schedule:
    """ᾱ, and what the network predicts."""

    alphas_cumprod: list[float]
    """ᾱ_0 … ᾱ_{T−1}."""
    prediction: Prediction

    @classmethod
    def of(cls, config: Mapping[str, Any], source: Path | str = "the scheduler's description") -> Schedule:
        """The schedule of any of diffusers' schedulers, whichever way of sampling it stands for.

        Args:
            config: what diffusers wrote for the scheduler.
            source: the file that it comes from, for messages.

        ᾱ is the product of its betas in float64. Some schedulers put a small number in place of a last ᾱ of 0, for
        their own way of sampling; the network was trained with 0. Others shift ᾱ after the product: theirs is taken.

        Raises:
            UserError: for a scheduler without ᾱ, an ᾱ outside of [0, 1] or that leaves no image at timestep 0 or no
                noise at the last, settings that no scheduler can have, and a prediction that is none of ε, v and x_0.
        """
        import diffusers

        checked(Scheduler, config, source)
        name = config.get("_class_name")
        kind = getattr(diffusers, str(name), None)
        if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
            raise UserError(
                f"The scheduler {name} is none that diffusers {diffusers.__version__} knows: use a DDPMScheduler."
            )
        try:
            scheduler: Any = kind.from_config(dict(config))  # type: ignore[attr-defined]
        except Exception as error:  # whatever its computations raise for numbers that they can't take
            raise UserError(f"diffusers refuses the settings of the scheduler {name} ({reason(error)}).") from error
        if not (hasattr(scheduler, "betas") and hasattr(scheduler, "alphas_cumprod")):
            raise UserError(f"The scheduler {name} has no ᾱ, which SecMI's steps are made of: use a DDPMScheduler.")
        prediction = scheduler.config.get("prediction_type", "epsilon")
        if prediction not in get_args(Prediction):
            raise UserError(
                f"The scheduler {name} has prediction_type={prediction!r}, from which no noise can be had: it must be "
                f"one of {', '.join(get_args(Prediction))}."
            )
        schedule = cls(_alphas_cumprod(scheduler), prediction)
        if not all(0.0 <= alpha_bar <= 1.0 for alpha_bar in schedule.alphas_cumprod):
            raise UserError(f"The scheduler {name} has betas outside of [0, 1]: correct its settings.")
        if schedule.alphas_cumprod[0] == 0.0 or schedule.alphas_cumprod[-1] == 1.0:
            what = "leaves no image at timestep 0" if schedule.alphas_cumprod[0] == 0.0 else "adds no noise at all"
            raise UserError(f"The scheduler {name} of {source} {what}: correct its betas.")
        if prediction == "sample" and schedule.alphas_cumprod[0] == 1.0:
            raise UserError(
                f"The scheduler {name} adds no noise at timestep 0 (its first beta is 0), so that its "
                "prediction_type='sample' tells none there: such a target can't be attacked."
            )
        return schedule

    @cached_property
    def timesteps(self) -> Timesteps:
        """T, and up to which timestep the prediction tells noise and image."""
        return Timesteps.of(self.alphas_cumprod, predicts_noise=self.prediction == "epsilon")

    def noise(self, output: Tensor, x_t: Tensor, t: int) -> Tensor:
        """ε of a network's output at timestep t.

        From v: ε = √ᾱ_t v + √(1−ᾱ_t) x_t. From x_0: ε = (x_t − √ᾱ_t x_0) / √(1−ᾱ_t).

        Args:
            output: ε, v or x_0, [B, C, H, W].
            x_t: the states that it was given for, [B, C, H, W].
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
        """x̂_0 of a network's output at timestep t, where ᾱ_t may be 0 unless the output is ε.

        From ε: x̂_0 = (x_t − √(1−ᾱ_t) ε) / √ᾱ_t. From v: x̂_0 = √ᾱ_t x_t − √(1−ᾱ_t) v.

        Args:
            output: ε, v or x_0, [B, C, H, W].
            x_t: the states that it was given for, [B, C, H, W].
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
    from secmi_exp.diffusion.ddim import alphas_cumprod_from_betas

    of_betas, own = alphas_cumprod_from_betas(scheduler.betas), scheduler.alphas_cumprod.double()
    shifted = bool(((of_betas - own).abs() > ROUNDING).any())
    alphas_cumprod: list[float] = (own if shifted else of_betas).tolist()
    return alphas_cumprod
