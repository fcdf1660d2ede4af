"""The closed form of the t-error against the plain definition: φ, then ψ, then the squared distance."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secmi_exp.diffusion.path import GaussianPath, alphas_cumprod_from_betas
from secmi_exp.diffusion.timesteps import timesteps
from secmi_exp.diffusion.trajectory import begin, walk

T = 60


def ddpm(betas: Tensor) -> GaussianPath:
    return GaussianPath.from_alphas_cumprod(alphas_cumprod_from_betas(betas).tolist())


class RandomPredictor(nn.Module):
    """A random float64 network of x and t that counts its queries."""

    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.inner = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 1, 3, padding=1)).double()
        self.queries = 0

    def forward(self, x: Tensor, t: int) -> Tensor:
        self.queries += len(x)
        time = torch.full_like(x, math.sin(t))
        return self.inner(torch.cat([x, time], dim=1)).detach()


@given(
    seed=st.integers(0, 10_000),
    betas=st.lists(st.floats(1e-4, 0.05), min_size=T, max_size=T),
    k=st.sampled_from([1, 2, 5, 10]),
)
@settings(max_examples=8, deadline=None)
def test_closed_form_equals_phi_then_psi_in_float64(seed: int, betas: list[float], k: int) -> None:
    predictor, path = RandomPredictor(seed), ddpm(torch.tensor(betas))
    x = torch.rand(3, 1, 4, 4, dtype=torch.float64) * 2 - 1
    for step in walk(predictor, begin(predictor, x.clone()), path, k, T - 1):
        t, up = step.t_sec - k, step.t_sec
        x_up = path.step(x, predictor(x, t), t, up)  # φ
        back = path.step(x_up, predictor(x_up, up), up, t)  # ψ
        torch.testing.assert_close(step.t_error(), (back - x).square().flatten(1).sum(1), rtol=1e-9, atol=1e-18)
        torch.testing.assert_close(step.error_map(), (back - x).abs(), rtol=1e-8, atol=1e-12)
        x = x_up


@given(k=st.integers(1, 20), t_max=st.integers(1, T - 1))
@settings(max_examples=20, deadline=None)
def test_a_trajectory_of_n_steps_costs_n_plus_1_queries_an_image(k: int, t_max: int) -> None:
    predictor, path = RandomPredictor(0), ddpm(torch.linspace(1e-4, 0.02, T))
    steps = list(walk(predictor, begin(predictor, torch.zeros(2, 1, 4, 4, dtype=torch.float64)), path, k, t_max))
    assert [step.t_sec for step in steps] == timesteps(k, t_max)
    assert predictor.queries == 2 * (t_max // k + 1)


@given(k=st.integers(1, 10), end=st.integers(1, 5), rest=st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_a_walk_continued_from_its_last_state_is_the_whole_walk(k: int, end: int, rest: int) -> None:
    path = ddpm(torch.linspace(1e-4, 0.02, 101))
    predictor, x_0 = RandomPredictor(1), torch.rand(2, 1, 4, 4, dtype=torch.float64)
    whole = list(walk(predictor, begin(predictor, x_0), path, k, (end + rest) * k))
    spent, predictor.queries = predictor.queries, 0
    first = list(walk(predictor, begin(predictor, x_0), path, k, end * k))
    second = list(walk(predictor, first[-1].state, path, k, (end + rest) * k))
    assert predictor.queries == spent
    for step, expected in zip(first + second, whole, strict=True):
        assert step.t_sec == expected.t_sec
        assert torch.equal(step.difference, expected.difference)


def test_phi_undoes_psi_for_the_same_noise() -> None:
    x, eps = torch.randn(2, 1, 3, 3).double(), torch.randn(2, 1, 3, 3).double()
    path = GaussianPath.from_alphas_cumprod([0.9, 0.4])
    torch.testing.assert_close(path.step(path.step(x, eps, 0, 1), eps, 1, 0), x, rtol=1e-12, atol=1e-12)


def test_coefficient_is_negative_and_grows_with_the_interval() -> None:
    path = ddpm(torch.linspace(1e-4, 0.02, 1000))
    coefficients = [path.round_trip_coefficient(90, 90 + k) for k in (1, 5, 10, 50)]
    assert all(c < 0 for c in coefficients)
    assert coefficients == sorted(coefficients, reverse=True)


def test_low_precision_predictions_are_summed_in_float32() -> None:
    path = ddpm(torch.linspace(1e-4, 0.02, 1000))

    def predict(x: Tensor, t: int) -> Tensor:
        return torch.full_like(x, 1.0 + t)

    (step,) = walk(predict, begin(predict, torch.zeros(1, 3, 64, 64, dtype=torch.bfloat16)), path, 10, 10)
    each = (step.difference[0, 0, 0, 0].float() ** 2).item()
    assert step.t_error().dtype == torch.float32
    assert step.t_error().item() == pytest.approx(each * 3 * 64 * 64, rel=1e-5)
