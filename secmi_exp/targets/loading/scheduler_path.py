"""The path that a network was trained on, as the description of its scheduler says it, whatever its way of sampling."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.path import GaussianPath, alphas_cumprod_from_betas, ddpm_noise_to_signal
from secmi_exp.diffusion.timesteps import PAPER_STEPS, Prediction, TimeAxis, Timesteps
from secmi_exp.errors import UserError
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import Scheduler
from secmi_exp.targets.noise_schedule import DiscretePrediction

make_scheduler = Deferred("secmi_exp.targets.loading.schedulers:make_scheduler")

RHO = 7.0
"""ρ of EDM's native axis, by Karras et al. (2022)."""

ROUNDING = 1e-5
"""Upper bound of the distance between a float32 scheduler's ᾱ, or its stand-in for 0, and the ᾱ of its betas."""

FLOWS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
BY_BETAS = (
    "DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
"""Schedulers whose ᾱ is the product of 1 − β for the settings that are written with them."""


def timesteps_of_scheduler(
    config: Mapping[str, Any], source: Path | str = "the scheduler's description", axis: TimeAxis = "ddpm"
) -> Timesteps:
    """The timesteps of the path that a scheduler describes; diffusers is imported only where the settings don't tell.

    Args:
        config: see `path_of_scheduler`.
        source: see `path_of_scheduler`.
        axis: see `path_of_scheduler`.

    Raises:
        UserError: see `path_of_scheduler`.
    """
    described = checked(Scheduler, config, source)
    name, count = config.get("_class_name"), described.num_train_timesteps
    if name in FLOWS and "num_train_timesteps" in config:
        return Timesteps.with_signal_everywhere(count if axis == "native" else PAPER_STEPS)
    if name in BY_BETAS and has_signal_everywhere(described):
        return Timesteps.with_signal_everywhere(count)
    return path_of_scheduler(config, source, axis).timesteps


def has_signal_everywhere(described: Scheduler) -> bool:
    """Whether a description alone says that ᾱ is above 0 at each timestep: ᾱ ≥ (1 − β_max)^T, above float's smallest.

    The settings must have been written, since each scheduler has its own defaults.
    """
    written = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule"} <= described.model_fields_set
    by_range = described.beta_schedule in ("linear", "scaled_linear") and described.trained_betas is None
    if not (written and by_range) or described.rescale_betas_zero_snr:
        return False
    if described.prediction_type not in get_args(DiscretePrediction) or not described.beta_start:
        return False
    smallest = math.log(sys.float_info.min)
    return described.beta_end < 1 and described.num_train_timesteps * math.log1p(-described.beta_end) > smallest


def path_of_scheduler(
    config: Mapping[str, Any], source: Path | str = "the scheduler's description", axis: TimeAxis = "ddpm"
) -> GaussianPath:
    """Read the path of any of diffusers' schedulers.

    DDPM's ᾱ is the product of its betas in float64. Some schedulers put a small number in place of a last ᾱ of 0, for
    their own way of sampling; the network was trained with 0. Others shift ᾱ after the product: theirs is taken. A
    flow's shift of its sampling steps changes neither path nor network.

    Args:
        config: settings that diffusers wrote for the scheduler.
        source: the file that they come from, for messages.
        axis: of a continuous path.

    Raises:
        UserError: for a scheduler without such a path, an ᾱ outside of [0, 1] or that leaves no image at timestep 0 or
            no noise at the last, settings that no scheduler can have, and a prediction that is none of ε, v and x_0.
    """
    scheduler = make_scheduler(config, source)
    name, settings = type(scheduler).__name__, scheduler.config
    prediction = settings.get("prediction_type", "epsilon")
    if name.startswith("FlowMatch") or prediction == "flow_prediction":
        return flow_path(settings["num_train_timesteps"], axis)
    if name.startswith("EDM"):
        if prediction != "epsilon":
            raise UserError(f"The scheduler {name} of {source} has prediction_type={prediction!r}: it must be epsilon.")
        count, low, high = settings["num_train_timesteps"], settings["sigma_min"], settings["sigma_max"]
        return exploding_path(count, low, high, "edm", axis, settings["sigma_data"])
    if not (hasattr(scheduler, "betas") and hasattr(scheduler, "alphas_cumprod")):
        raise UserError(
            f"The scheduler {name} has neither ᾱ nor a flow's or EDM's σ, which SecMI's steps are made of: use a "
            "DDPMScheduler, FlowMatchEulerDiscreteScheduler or EDMEulerScheduler."
        )
    if prediction not in get_args(DiscretePrediction):
        raise UserError(
            f"The scheduler {name} has prediction_type={prediction!r}, from which the noise can't be computed: it must "
            f"be one of {', '.join(get_args(DiscretePrediction))}."
        )
    return discrete_path(_alphas_cumprod(scheduler), prediction, f"The scheduler {name} of {source}")


def discrete_path(alphas_cumprod: list[float], prediction: Prediction, what: str) -> GaussianPath:
    """The path of DDPM.

    Args:
        alphas_cumprod: ᾱ_0 … ᾱ_{T−1}.
        prediction: the network's output.
        what: beginning of a message.

    Raises:
        UserError: for an ᾱ outside of [0, 1], that leaves no image at timestep 0 or no noise at the last, or from which
            no noise follows.
    """
    if not all(0.0 <= alpha_bar <= 1.0 for alpha_bar in alphas_cumprod):
        raise UserError(f"{what} has betas outside of [0, 1]: correct its settings.")
    if alphas_cumprod[0] == 0.0 or alphas_cumprod[-1] == 1.0:
        fault = "leaves no image at timestep 0" if alphas_cumprod[0] == 0.0 else "adds no noise at all"
        raise UserError(f"{what} {fault}: correct its betas.")
    if prediction == "sample" and alphas_cumprod[0] == 1.0:
        raise UserError(
            f"{what} adds no noise at timestep 0 (its first beta is 0), so that the noise can't be computed from its "
            "prediction_type='sample' there: such a target can't be attacked."
        )
    return GaussianPath.from_alphas_cumprod(alphas_cumprod, prediction)


def flow_path(count: int, axis: TimeAxis) -> GaussianPath:
    """The path of flow matching, whose network gets σ · T.

    Args:
        count: T.
        axis: ddpm: σ_t/α_t is the paper's DDPM schedule's; native: σ_t = t/T.
    """
    if axis == "native":
        return GaussianPath.flow([t / count for t in range(count)], count)
    return GaussianPath.flow([ratio / (1.0 + ratio) for ratio in ddpm_noise_to_signal()], count)


def exploding_path(
    count: int,
    sigma_min: float,
    sigma_max: float,
    prediction: Prediction,
    axis: TimeAxis,
    sigma_data: float = 0.5,
) -> GaussianPath:
    """The path of EDM, from σ_min on: at σ = 0 no noise follows from an image.

    Args:
        count: T of the native axis.
        sigma_min: smallest σ that the network was trained for.
        sigma_max: largest σ that the network was trained for; timesteps beyond have no place on the axis.
        prediction: see `GaussianPath.exploding`.
        axis: ddpm: σ_t is the paper's DDPM schedule's σ/α; native: equally spaced in σ^(1/ρ) (Karras et al. 2022,
            equation 5).
        sigma_data: of the preconditioning.
    """
    if axis == "native":
        low, high = sigma_min ** (1.0 / RHO), sigma_max ** (1.0 / RHO)
        sigmas = [(low + t / (count - 1) * (high - low)) ** RHO for t in range(count)]
    else:
        sigmas = [max(ratio, sigma_min) for ratio in ddpm_noise_to_signal() if ratio <= sigma_max]
    return GaussianPath.exploding(sigmas, prediction, sigma_data)


def _alphas_cumprod(scheduler: Any) -> list[float]:
    of_betas, own = alphas_cumprod_from_betas(scheduler.betas), scheduler.alphas_cumprod.double()
    shifted = bool(((of_betas - own).abs() > ROUNDING).any())
    alphas_cumprod: list[float] = (own if shifted else of_betas).tolist()
    return alphas_cumprod
