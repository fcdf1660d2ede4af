"""Noise schedules as diffusers' schedulers hold them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import diffusers
from diffusers import SchedulerMixin
from pydantic import ConfigDict, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass as checked_dataclass

from secmi_exp.diffusion.ddim import Prediction, alphas_cumprod_from_betas
from secmi_exp.errors import UserError


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NoiseSchedule:
    """Arguments of `DDPMScheduler`, as a config gives them."""

    num_train_timesteps: PositiveInt
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
    beta_start: PositiveFloat
    beta_end: PositiveFloat


@dataclass(frozen=True)
class Schedule:
    """What of a scheduler an attack reads."""

    alphas_cumprod: list[float]
    """ᾱ_0 … ᾱ_{T−1}."""
    prediction: Prediction
    """What the network predicts."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Schedule":
        """From a scheduler's configuration, as diffusers writes it.

        Raises:
            UserError: for a scheduler that isn't diffusers' or has no ᾱ, and a prediction other than ε, v and x_0.
        """
        name = str(config.get("_class_name"))
        kind: Any = getattr(diffusers, name, None)
        if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
            raise UserError(f"The scheduler {name} is none of diffusers {diffusers.__version__}.")
        scheduler: Any = kind.from_config(dict(config))  # type: ignore[attr-defined]
        betas = getattr(scheduler, "betas", None)
        if betas is None:
            raise UserError(f"The scheduler {name} has no β schedule, so SecMI's DDIM steps can't be taken with it.")
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in ("epsilon", "v_prediction", "sample"):
            raise UserError(
                f"The scheduler predicts {prediction!r}, which is none of epsilon, v_prediction and sample."
            )
        return cls(alphas_cumprod_from_betas(betas).tolist(), prediction)
