"""Zero terminal SNR: an attack at the last timestep is made where the target tells something there, else refused."""

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.signals.initial_noise import InitialNoise
from secmi_exp.attacks.signals.sampling import sample
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.errors import UserError
from secmi_exp.targets.pixel.predictor import PixelPredictor
from secmi_exp.targets.text_to_image.unet_training import prepare_sampling
from secmi_exp.testing import configured
from tests.support.audits import audit, sides
from tests.support.diffusers_folders import zero_snr

NOISE, IMAGE = Timesteps(1000, last_image=998, last_noise=999), Timesteps(1000, last_image=999, last_noise=998)
"""Of targets that predict ε, and of those that predict v or x_0."""
LAST = ["attack.t_sec=999", "attack.k=111", "attack.t_max=999"]


def attack(*overrides: str) -> Attack:
    found: Attack = configured("attack", *overrides)
    return found


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@torch.no_grad()
def test_samples_begin_at_the_last_timestep_as_diffusers_do(tmp_path: Path, prediction: str) -> None:
    predictor = PixelPredictor(zero_snr(tmp_path, prediction))
    assert predictor.path.alphas[999] == 0
    ddim = DDIMScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    ddim.set_timesteps(10)
    x = x_T = torch.from_numpy(InitialNoise(0, 2, (3, 8, 8))[:])
    for t in ddim.timesteps:
        x = ddim.step(predictor.unet(x, t).sample, t, x).prev_sample
    torch.testing.assert_close(sample(predictor, x_T, 10), x, atol=1e-4, rtol=1e-4)
    assert predictor.queries == 20


@torch.no_grad()
def test_the_image_that_is_predicted_is_the_one_behind_the_noise(tmp_path: Path) -> None:
    predictor = PixelPredictor(zero_snr(tmp_path, "v_prediction"))
    x = torch.randn(2, 3, 8, 8)
    alpha, sigma = predictor.path.alphas[300], predictor.path.sigmas[300]
    expected = (x - sigma * predictor.predict_noise(x, 300)) / alpha
    torch.testing.assert_close(predictor.predict_image(x, 300), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(predictor.predict_image(x, 999), -predictor.unet(x, 999).sample)
    assert torch.equal(predictor.predict_noise(x, 999), x)  # whatever the network says


def test_a_v_prediction_target_is_attacked_at_its_last_timestep(tmp_path: Path) -> None:
    folder = zero_snr(tmp_path / "target", "v_prediction")
    results = audit(tmp_path, "diffusers", folder, *sides(tmp_path), *LAST)
    assert results["t_sec"] == 999
    assert results["queries_per_sample"] == 10
    assert all(ratio > 0 for ratio in results["relative_t_error"]["ratio"])


def test_a_target_that_predicts_the_noise_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    folder, images = zero_snr(tmp_path / "target", "epsilon"), sides(tmp_path)
    with pytest.raises(
        UserError, match=r"attack.t_sec=999 .* from timestep 999 on .* α is 0 .* no image: choose at most 888"
    ):
        audit(tmp_path, "diffusers", folder, *images, *LAST)
    assert not [*tmp_path.glob("store/*/*")]
    assert (
        audit(tmp_path, "diffusers", folder, *images, "attack.t_sec=888", *LAST[1:2], "attack.t_max=1")["t_sec"] == 888
    )


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        (["+attack=loss", "attack.t=999"], r"attack.t=999 .* is no noise but the state itself: choose at most 998"),
        (["+attack=loss", "attack.t=[0,999]"], "attack.t=999 "),
        (["+attack=pia", "attack.t=999"], "attack.t=999 "),
        (["+attack=sima", "attack.t=999"], "attack.t=999 "),
        (["+attack=pfami", "attack.timesteps=[0,999]"], "attack.timesteps=999 "),
    ],
)
def test_noise_that_is_the_state_itself_is_no_question(overrides: list[str], refused: str) -> None:
    attack(*overrides).check(NOISE)
    with pytest.raises(UserError, match=refused):
        attack(*overrides).check(IMAGE)


def test_samples_are_for_targets_that_tell_an_image_at_the_end() -> None:
    quality = configured("quality", "quality=measured")
    for asking, name in ((attack("+attack=gan_leaks"), "attack"), (quality, "quality")):
        asking.check(IMAGE)
        with pytest.raises(UserError, match=rf"{name}.samples=\d+ asks for samples .* timestep 999: ᾱ is 0"):
            asking.check(NOISE)  # before anything is drawn


def test_quality_is_not_asked_for_at_the_end() -> None:
    every = configured("quality", "quality=measured", "quality.samples=null", "quality.timesteps=500")
    every.check(NOISE)
    with pytest.raises(UserError, match=r"quality.timesteps=500 are so many .* 999 .* choose at most 499"):
        every.check(IMAGE)
    configured("quality", "quality=measured", "quality.samples=null", "quality.timesteps=499").check(IMAGE)


@pytest.mark.parametrize(
    ("count", "overrides", "refused"),
    [
        (100, ["attack.t_sec=99", "attack.k=99", "attack.t_max=99"], None),
        (100, ["attack.t_sec=100", "attack.k=10"], "attack.t_sec=100 exceeds the last .*: choose at most 90"),
        (100, ["attack.t_sec=5", "attack.k=10"], r"not a multiple of .* attack.k=10: on the trajectory: 10\."),
        (100, ["attack.t_sec=95", "attack.k=10"], r"on the trajectory: 90\."),
        (100, ["attack.t_sec=90", "attack.k=10", "attack.t_max=104"], "attack.t_max=104 exceeds .* at most 90"),
        (100, ["attack.t_sec=90", "attack.k=45", "attack.t_max=104"], None),
        (5, ["attack.t_sec=4", "attack.k=10"], "lower attack.k, which no timestep is a multiple of"),
        (5, ["attack.t_sec=10", "attack.k=10"], "with k=10 none is left, so lower attack.k too"),
        (100, ["attack.t_sec=50", "attack.maps=[110]"], "attack.maps=110 exceeds"),
    ],
)
def test_the_last_timesteps_of_a_trajectory(count: int, overrides: list[str], refused: str | None) -> None:
    stat = attack("+attack=stat", *overrides)
    if refused is None:
        stat.check(Timesteps.with_signal_everywhere(count))
        return
    with pytest.raises(UserError, match=refused):
        stat.check(Timesteps.with_signal_everywhere(count))


def test_gsa_takes_as_many_timesteps_as_there_are() -> None:
    attack("+attack=gsa", "attack.timesteps=100").check(Timesteps.with_signal_everywhere(100))
    with pytest.raises(UserError, match=r"attack.timesteps=101 exceeds the 100 timesteps .* at most as many"):
        attack("+attack=gsa", "attack.timesteps=101").check(Timesteps.with_signal_everywhere(100))


class Pipeline:
    def __init__(self, scheduler: DDIMScheduler):
        self.scheduler = scheduler


@pytest.mark.parametrize(("timesteps", "first"), [(NOISE, 981), (IMAGE, 999)])
def test_pictures_of_a_training_begin_where_an_image_is_told(timesteps: Timesteps, first: int) -> None:
    pipeline = Pipeline(DDIMScheduler(1000, timestep_spacing="trailing", steps_offset=1))
    steps = prepare_sampling(pipeline, timesteps)
    pipeline.scheduler.set_timesteps(steps)
    assert int(pipeline.scheduler.timesteps[0]) == first


@pytest.mark.parametrize("count", [20, 50, 51])
def test_pictures_of_a_training_take_no_more_steps_than_there_are(count: int) -> None:
    pipeline = Pipeline(DDIMScheduler(count, steps_offset=1))
    steps = prepare_sampling(pipeline, Timesteps.with_signal_everywhere(count))
    pipeline.scheduler.set_timesteps(steps)
    assert int(pipeline.scheduler.timesteps[0]) < count
