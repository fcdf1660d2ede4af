"""The last round trip of a schedule that ends in mere noise: where c_t is infinite, and the image is predicted."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secmi_exp.diffusion.ddim import ddim_step, denoised, noised, round_trip_coefficient
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.diffusion.trajectory import State, begin, last_round_trip, walk

ALPHA_BAR = st.floats(0.01, 0.99)
SHAPE = (2, 1, 3, 3)


def tensors(seed: int, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(count)]


@given(seed=st.integers(0, 10_000), alpha_bar=ALPHA_BAR)
@settings(max_examples=30, deadline=None)
def test_the_last_round_trip_is_phi_then_psi(seed: int, alpha_bar: float) -> None:
    x, eps, image = tensors(seed, 3)
    x_up = ddim_step(x, eps, alpha_bar, 0.0)  # φ
    assert torch.equal(x_up, eps)
    back = noised(image, x_up, alpha_bar)  # ψ of what is predicted at the end, where ε̂ is the state
    found = last_round_trip(lambda x, t: image, State(5, x, eps), State(9, x_up, x_up), alpha_bar)
    torch.testing.assert_close(found.difference, back - x, rtol=1e-12, atol=1e-12)
    assert found.t_sec == 9


@given(seed=st.integers(0, 10_000), alpha_bar=ALPHA_BAR)
@settings(max_examples=30, deadline=None)
def test_it_is_the_limit_of_the_closed_form(seed: int, alpha_bar: float) -> None:
    x, eps, image = tensors(seed, 3)
    found = last_round_trip(lambda x, t: image, State(5, x, eps), State(9, eps, eps), alpha_bar).difference
    almost = 1e-10  # ᾱ at the end, with the prediction of the same image
    x_up = ddim_step(x, eps, alpha_bar, almost)
    eps_up = (x_up - almost**0.5 * image) / (1 - almost) ** 0.5
    closed = round_trip_coefficient(alpha_bar, almost) * (eps_up - eps)
    torch.testing.assert_close(closed, found, rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 10_000), alpha_bar=ALPHA_BAR)
@settings(max_examples=30, deadline=None)
def test_denoising_undoes_noising(seed: int, alpha_bar: float) -> None:
    image, eps = tensors(seed, 2)
    torch.testing.assert_close(denoised(noised(image, eps, alpha_bar), eps, alpha_bar), image, rtol=1e-9, atol=1e-9)


def test_a_walk_asks_for_the_image_once_at_the_end() -> None:
    noise, image, asked = *tensors(0, 2), []

    def predict_noise(x: Tensor, t: int) -> Tensor:
        asked.append(("noise", t))
        return noise * (1 + t)

    def predict_image(x: Tensor, t: int) -> Tensor:
        asked.append(("image", t))
        return image

    alphas, (x,) = [0.9, 0.8, 0.6, 0.3, 0.0], tensors(1, 1)
    *_, last = walk(predict_noise, begin(predict_noise, x), alphas, 2, 4, predict_image)
    assert asked == [("noise", 0), ("noise", 2), ("image", 4)]
    x_2 = ddim_step(x, noise, 0.9, 0.6)
    expected = 0.6**0.5 * (image - denoised(x_2, 3 * noise, 0.6))
    torch.testing.assert_close(last.difference, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(last.state.x, 3 * noise)


@pytest.mark.parametrize(
    ("alphas", "predicts_noise", "image", "noise"),
    [
        ([0.9, 0.5], True, 1, 1),
        ([0.9, 0.5], False, 1, 1),
        ([0.9, 0.5, 0.0], True, 1, 2),
        ([0.9, 0.5, 0.0], False, 2, 1),
        ([0.9, 0.0, 0.0], False, 1, 0),  # no step leads from one end to the other
    ],
)
def test_what_is_told_at_the_end_depends_on_what_is_predicted(
    alphas: list[float], predicts_noise: bool, image: int, noise: int
) -> None:
    told = Timesteps.of(alphas, predicts_noise=predicts_noise)
    assert (told.count, told.last_image, told.last_noise) == (len(alphas), image, noise)
