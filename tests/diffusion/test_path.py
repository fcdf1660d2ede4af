"""Paths and parameterisations: the t-error against φ then ψ, a flow's Euler steps, EDM's denoiser, published bits."""

import math
from typing import get_args

import pytest
import torch
from diffusers import EDMEulerScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor
from secmi_exp.diffusion.path import GaussianPath, ddpm_noise_to_signal
from secmi_exp.diffusion.timesteps import Prediction
from secmi_exp.diffusion.trajectory import begin, walk
from secmi_exp.targets.loading.scheduler_path import exploding_path, flow_path
from secmi_exp.testing import SmallNetwork

T = 60
RATIOS = st.lists(st.floats(0.02, 0.5), min_size=T, max_size=T)
"""Growth of σ/α from one timestep to the next."""


def path_of(prediction: Prediction, growth: list[float]) -> GaussianPath:
    """A path of some kind that this prediction has a meaning on, with these noise-to-signal ratios."""
    ratios = [0.01]
    for each in growth[1:]:
        ratios.append(ratios[-1] + each)
    match prediction:
        case "velocity":
            return GaussianPath.flow([ratio / (1 + ratio) for ratio in ratios], 1000)
        case "edm":
            return GaussianPath.exploding(ratios, "edm", 0.5)
        case "sample":
            return GaussianPath.exploding(ratios, "sample")
    return GaussianPath.from_alphas_cumprod([1 / (1 + ratio**2) for ratio in ratios], prediction)


class Tiny(NoisePredictor):
    """A random float64 network on any path."""

    def __init__(self, path: GaussianPath):
        super().__init__()
        self.path, self.inner = path, SmallNetwork().double()

    @property
    def network(self) -> nn.Module:
        return self.inner

    def encode(self, inputs: Tensor) -> Tensor:
        return inputs

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        output: Tensor = self.inner(x, time)
        return output.detach()


@pytest.mark.parametrize("prediction", get_args(Prediction))
@given(growth=RATIOS, k=st.sampled_from([1, 5, 10]))
@settings(max_examples=10, deadline=None)
def test_the_t_error_is_phi_then_psi_on_every_path(prediction: Prediction, growth: list[float], k: int) -> None:
    path = path_of(prediction, growth)
    predictor = Tiny(path)
    x = torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(2, 1, 4, 4)
    for step in walk(predictor.predict_noise, begin(predictor.predict_noise, x), path, k, T - 1):
        t, u = step.t_sec - k, step.t_sec
        a, s, b, v = path.alphas[t], path.sigmas[t], path.alphas[u], path.sigmas[u]
        noise = predictor.predict_noise(x, t)
        image = (x - s * noise) / a
        x_up = b * image + v * noise  # φ
        noise_up = predictor.predict_noise(x_up, u)
        back = a * (x_up - v * noise_up) / b + s * noise_up  # ψ
        torch.testing.assert_close(step.t_error(), (back - x).square().flatten(1).sum(1), rtol=1e-9, atol=1e-15)
        x = x_up


@pytest.mark.parametrize("prediction", get_args(Prediction))
@given(growth=RATIOS, t=st.integers(0, T - 1))
@settings(max_examples=20, deadline=None)
def test_noise_and_image_make_the_state_again(prediction: Prediction, growth: list[float], t: int) -> None:
    predictor = Tiny(path_of(prediction, growth))
    x = torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(2, 1, 4, 4)
    noise, image = predictor.predict_noise(x, t), predictor.predict_image(x, t)
    torch.testing.assert_close(predictor.path.add_noise(image, noise, t), x, rtol=1e-9, atol=1e-12)


def test_the_closed_form_is_two_euler_steps_of_a_flows_ode() -> None:
    """As `FlowMatchEulerDiscreteScheduler` takes them, up from σ to σ' and down again."""
    path = flow_path(1000, "native")
    predictor = Tiny(path)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    *_, step = walk(predictor.predict_noise, begin(predictor.predict_noise, x), path, 50, 100)
    for t, u in ((0, 50), (50, 100)):
        state, x = x, euler(x, predictor.evaluate(x, t, {}), t, u)
    back = euler(x, predictor.evaluate(x, 100, {}), 100, 50)
    torch.testing.assert_close(step.difference, back - state, rtol=0, atol=1e-6)  # its σ are float32


def euler(x: Tensor, velocity: Tensor, t: int, u: int) -> Tensor:
    """A step of the scheduler from time t to u."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[t / 1000, u / 1000])
    stepped: Tensor = scheduler.step(velocity, scheduler.timesteps[0], x.double()).prev_sample
    return stepped.double()


def test_edms_image_is_the_one_that_diffusers_steps_with() -> None:
    path = exploding_path(10, 0.002, 80.0, "edm", "native", 0.5)
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    scheduler.set_timesteps(10)
    for t, (sigma, time) in enumerate(zip(reversed(scheduler.sigmas[:-1]), reversed(scheduler.timesteps), strict=True)):
        x, output = torch.randn(2, 1, 2, 2, 2)
        assert path.sigmas[t] == pytest.approx(float(sigma), rel=1e-5)
        assert path.model_time(t) == pytest.approx(float(time), rel=1e-5)
        torch.testing.assert_close(path.model_input(x, t), scheduler.precondition_inputs(x, sigma))
        torch.testing.assert_close(path.image(output, x, t), scheduler.precondition_outputs(x, output, sigma))


def test_timesteps_of_continuous_paths_have_the_papers_noise_to_signal_ratio() -> None:
    paper = ddpm_noise_to_signal()
    flow, edm = flow_path(1000, "ddpm"), exploding_path(1000, 0.002, 80.0, "edm", "ddpm")
    for t in (0, 100, 800):
        assert flow.sigmas[t] / flow.alphas[t] == pytest.approx(paper[t])
        assert flow.model_time(t) == pytest.approx(1000 * flow.sigmas[t])
        assert edm.sigmas[t] == paper[t]
    assert edm.timesteps.count == sum(ratio <= 80 for ratio in paper) < 1000


def test_ddpms_coefficient_is_the_published_one_to_the_last_bit_of_float32() -> None:
    """σ_t − α_t σ_u / α_u in place of √(1−ᾱ_t) − √(ᾱ_t (1−ᾱ_u) / ᾱ_u) changes no stored t-error."""
    alphas_cumprod = [1 / (1 + ratio**2) for ratio in ddpm_noise_to_signal()]
    path = GaussianPath.from_alphas_cumprod(alphas_cumprod)
    pairs = [(t, t + k) for k in (1, 5, 10, 20) for t in range(0, 1000 - k, k)]
    ours = torch.tensor([path.round_trip_coefficient(*pair) for pair in pairs])
    theirs = [
        math.sqrt(1 - (a := alphas_cumprod[t])) - math.sqrt(a * (1 - (b := alphas_cumprod[u])) / b) for t, u in pairs
    ]
    assert torch.equal(ours, torch.tensor(theirs))


@pytest.mark.parametrize(
    ("prediction", "alpha", "sigma", "message"),
    [("v_prediction", 0.5, 0.5, "α² \\+ σ² = 1"), ("velocity", 0.6, 0.8, "α \\+ σ = 1"), ("edm", 0.9, 0.1, "α = 1")],
)
def test_a_prediction_without_a_meaning_is_refused(
    prediction: Prediction, alpha: float, sigma: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianPath([alpha], [sigma], prediction)
