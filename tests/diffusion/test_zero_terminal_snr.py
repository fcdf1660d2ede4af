"""The last round trip of a schedule that ends in mere noise: where c_t is infinite, and the image is predicted."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secmi_exp.diffusion.path import GaussianPath
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
    path = GaussianPath.from_alphas_cumprod([alpha_bar, 0.0])
    x_up = path.step(x, eps, 0, 1)  # φ
    assert torch.equal(x_up, eps)
    back = path.add_noise(image, x_up, 0)  # ψ of what is predicted at the end, where ε̂ is the state
    found = last_round_trip(lambda x, t: image, State(0, x, eps), State(1, x_up, x_up), path)
    torch.testing.assert_close(found.difference, back - x, rtol=1e-12, atol=1e-12)
    assert found.t_sec == 1


@given(seed=st.integers(0, 10_000), alpha_bar=ALPHA_BAR)
@settings(max_examples=30, deadline=None)
def test_it_is_the_limit_of_the_closed_form(seed: int, alpha_bar: float) -> None:
    x, eps, image = tensors(seed, 3)
    almost = 1e-10  # ᾱ at the end, with the prediction of the same image
    path = GaussianPath.from_alphas_cumprod([alpha_bar, almost])
    found = last_round_trip(lambda x, t: image, State(0, x, eps), State(1, eps, eps), path).difference
    x_up = path.step(x, eps, 0, 1)
    eps_up = (x_up - almost**0.5 * image) / (1 - almost) ** 0.5
    closed = path.round_trip_coefficient(0, 1) * (eps_up - eps)
    torch.testing.assert_close(closed, found, rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 10_000), alpha_bar=ALPHA_BAR)
@settings(max_examples=30, deadline=None)
def test_denoising_undoes_noising(seed: int, alpha_bar: float) -> None:
    image, eps = tensors(seed, 2)
    path = GaussianPath.from_alphas_cumprod([alpha_bar])
    torch.testing.assert_close(path.denoise(path.add_noise(image, eps, 0), eps, 0), image, rtol=1e-9, atol=1e-9)


def test_a_walk_asks_for_the_image_once_at_the_end() -> None:
    noise, image, asked = *tensors(0, 2), []

    def predict_noise(x: Tensor, t: int) -> Tensor:
        asked.append(("noise", t))
        return noise * (1 + t)

    def predict_image(x: Tensor, t: int) -> Tensor:
        asked.append(("image", t))
        return image

    path, (x,) = GaussianPath.from_alphas_cumprod([0.9, 0.8, 0.6, 0.3, 0.0]), tensors(1, 1)
    *_, last = walk(predict_noise, begin(predict_noise, x), path, 2, 4, predict_image)
    assert asked == [("noise", 0), ("noise", 2), ("image", 4)]
    x_2 = path.step(x, noise, 0, 2)
    expected = 0.6**0.5 * (image - path.denoise(x_2, 3 * noise, 2))
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
