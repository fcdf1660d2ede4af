"""Noise schedules of any scheduler, and the noise behind ε, v and x_0."""

import json
from typing import Any

import diffusers
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.diffusion.timesteps import Prediction, TimeAxis
from secmi_exp.errors import UserError
from secmi_exp.targets.loading.scheduler_path import BY_BETAS, FLOWS, path_of_scheduler, timesteps_of_scheduler

LINEAR = {"num_train_timesteps": 100, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def described(scheduler: diffusers.SchedulerMixin) -> dict[str, Any]:
    """As diffusers writes it into a pipeline's folder."""
    description: dict[str, Any] = json.loads(scheduler.to_json_string())
    return description


VALUES = st.floats(-3, 3)


@given(VALUES, VALUES, st.floats(0.01, 0.99))
def test_every_prediction_tells_the_same_noise(x_0: float, eps: float, alpha_bar: float) -> None:
    image, noise = (torch.tensor([value], dtype=torch.float64) for value in (x_0, eps))
    alpha, sigma = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    x_t = alpha * image + sigma * noise
    outputs: dict[Prediction, torch.Tensor] = {
        "epsilon": noise, "sample": image, "v_prediction": alpha * noise - sigma * image
    }  # fmt: skip
    for prediction, output in outputs.items():
        found = GaussianPath.from_alphas_cumprod([alpha_bar], prediction).noise(output, x_t, 0)
        torch.testing.assert_close(found, noise, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_the_noise_is_the_one_that_diffusers_steps_with(prediction: Prediction) -> None:
    scheduler = diffusers.DDIMScheduler(**LINEAR, prediction_type=prediction, clip_sample=False)
    scheduler.set_timesteps(100)
    path = path_of_scheduler(described(scheduler))
    x_t, output = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64)
    x_0 = scheduler.step(output, 50, x_t).pred_original_sample
    expected = (x_t - path.alphas[50] * x_0) / path.sigmas[50]
    torch.testing.assert_close(path.noise(output, x_t, 50), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [
    "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler",
    "DPMSolverMultistepScheduler", "UniPCMultistepScheduler",
])  # fmt: skip
def test_the_way_of_sampling_makes_no_difference(name: str) -> None:
    expected = path_of_scheduler(described(diffusers.DDPMScheduler(**LINEAR)))
    assert path_of_scheduler(described(getattr(diffusers, name)(**LINEAR))) == expected
    assert expected.alphas[0] ** 2 == pytest.approx(1 - 1e-4)
    assert len(expected) == 100


@pytest.mark.parametrize("name", [
    "DDPMScheduler", "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler", "LCMScheduler", "TCDScheduler",
    "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
])  # fmt: skip
def test_a_zero_terminal_snr_is_zero_whatever_number_stands_for_it(name: str) -> None:
    scheduler = getattr(diffusers, name)(**LINEAR, rescale_betas_zero_snr=True)
    found = path_of_scheduler(described(scheduler)).alphas
    assert found[-1] == 0.0 < found[-2]
    torch.testing.assert_close(
        torch.tensor(found[:-1]).square(), scheduler.alphas_cumprod[:-1].float(), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("rescaled", [False, True])
def test_a_schedule_that_is_shifted_after_the_product_of_betas_is_the_schedulers_own(rescaled: bool) -> None:
    scheduler = diffusers.CogVideoXDDIMScheduler(100, snr_shift_scale=3.0, rescale_betas_zero_snr=rescaled)
    found = torch.tensor(path_of_scheduler(described(scheduler)).alphas, dtype=torch.float64).square()
    torch.testing.assert_close(found, scheduler.alphas_cumprod.double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("t", [50, 99])
def test_the_image_is_the_one_that_diffusers_steps_with(prediction: Prediction, t: int) -> None:
    scheduler = diffusers.DDIMScheduler(
        **LINEAR, prediction_type=prediction, clip_sample=False, rescale_betas_zero_snr=prediction != "epsilon"
    )
    scheduler.set_timesteps(100)
    x_t, output = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64)
    expected = scheduler.step(output, t, x_t).pred_original_sample
    found = path_of_scheduler(described(scheduler)).image(output, x_t, t)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "IPNDMScheduler"}, "The scheduler IPNDMScheduler has neither ᾱ"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "The scheduler ScoreSdeVeScheduler has neither ᾱ"),
        ({"_class_name": "UNet2DModel"}, "The scheduler UNet2DModel is none that diffusers"),
        ({"_class_name": "MyScheduler"}, "The scheduler MyScheduler is none that diffusers .* knows"),
        ({}, "The scheduler None is none"),
        (
            {"_class_name": "DDPMScheduler", "beta_schedule": "mine"},
            "diffusers refuses a DDPMScheduler with the settings of",
        ),
        (
            {"_class_name": "DDPMScheduler", "prediction_type": "flow"},
            "prediction_type='flow', .* one of epsilon, v_pred",
        ),
        ({"_class_name": "DDPMScheduler", "beta_end": 1.5}, "has beta_end=1.5, which must be a number from 0 to 1"),
        (
            {"_class_name": "DDPMScheduler", "beta_start": 0.0, "prediction_type": "sample"},
            "adds no noise at timestep 0 .* prediction_type='sample' there",
        ),
    ],
)
def test_schedulers_without_a_ddim_step_are_refused(config: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        path_of_scheduler(config)


@pytest.mark.parametrize("axis", ["ddpm", "native"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, LINEAR) for name in BY_BETAS),
        *((name, {"num_train_timesteps": 500}) for name in FLOWS),
        ("DDPMScheduler", LINEAR | {"prediction_type": "sample"}),
        ("DDIMScheduler", LINEAR | {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True}),
        ("DDPMScheduler", LINEAR | {"beta_schedule": "squaredcos_cap_v2"}),
        ("DDPMScheduler", LINEAR | {"trained_betas": [0.1, 0.2, 1.0]}),
        ("DDPMScheduler", LINEAR | {"num_train_timesteps": 2000, "beta_start": 0.5, "beta_end": 0.5}),
        ("EDMEulerScheduler", {"num_train_timesteps": 50}),
        ("CogVideoXDDIMScheduler", {"num_train_timesteps": 100}),
    ],
)
def test_timesteps_told_by_the_settings_alone_are_those_of_the_path(
    name: str, settings: dict[str, Any], axis: TimeAxis
) -> None:
    config = described(getattr(diffusers, name)(**settings))
    assert timesteps_of_scheduler(config, axis=axis) == path_of_scheduler(config, axis=axis).timesteps


@pytest.mark.parametrize("name", [*BY_BETAS, *FLOWS])
def test_common_settings_tell_the_timesteps_without_diffusers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = described(getattr(diffusers, name)(num_train_timesteps=100))
    monkeypatch.setattr("secmi_exp.targets.loading.scheduler_path.make_scheduler", None)
    assert timesteps_of_scheduler(config, axis="native").count == 100
