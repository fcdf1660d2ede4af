"""Samples of the target: deterministic DDIM, each a function of its number, drawn once and never twice."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

from secmi_exp.attacks.signals.initial_noise import InitialNoise
from secmi_exp.attacks.signals.samples import SampledAttack, Samples
from secmi_exp.attacks.signals.sampling import sample, to_pixels
from secmi_exp.configuration.components import Components
from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine import rows
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.pixel.predictor import PixelPredictor
from secmi_exp.testing import compose_config, cpu_runtime
from tests.support.memorizing import ALPHAS, Killed, Memorizing, memorizing
from tests.support.query_attacks import attack
from tests.support.runs import one_run

N, SIDE, STEPS = 6, 4, 5
IMAGES = Images.from_pixels(np.random.default_rng(0).integers(0, 256, (N, 1, SIDE, SIDE), dtype=np.uint8))


def drawn(root: Path, fails_after: int | None = None, size: int = 4, count: int = 11) -> Samples:
    sampled: SampledAttack = attack("+attack=gan_leaks", f"attack.samples={count}", f"attack.steps={STEPS}")
    runtime = cpu_runtime(query_batch_size=size)
    with one_run(root) as store:
        return sampled.sampling.draw(memorizing(IMAGES, fails_after=fails_after), IMAGES, store, runtime)


@pytest.mark.parametrize("input_range", [(-1.0, 1.0), (0.0, 1.0)])
@torch.no_grad()
def test_samples_are_those_of_diffusers_ddim(tmp_path: Path, input_range: tuple[float, float]) -> None:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler(1000)).save_pretrained(tmp_path)
    predictor = PixelPredictor(tmp_path, input_range)
    ddim = DDIMScheduler(1000, clip_sample=False, timestep_spacing="trailing", set_alpha_to_one=True)
    ddim.set_timesteps(10)
    x = x_T = torch.from_numpy(InitialNoise(0, 2, (3, 8, 8))[:])
    for t in ddim.timesteps:
        x = ddim.step(unet(x, t).sample, t, x, eta=0.0).prev_sample
    ours = sample(predictor, x_T, 10)
    torch.testing.assert_close(ours, x, atol=1e-4, rtol=1e-4)
    assert predictor.queries == 20
    black, white = input_range
    expected = ((ours - black) / (white - black)).clamp(0, 1) * 255
    torch.testing.assert_close(to_pixels(predictor, ours).float(), expected, atol=0.51, rtol=0)


def test_every_level_of_a_pixel_survives_encoding_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    predictor = Memorizing(pixels.numpy())
    assert torch.equal(to_pixels(predictor, predictor.encode(pixels)), pixels)


def test_a_sample_depends_on_its_number_and_the_seed_alone() -> None:
    noise = InitialNoise(7, 5, (1, 4, 4))
    np.testing.assert_array_equal(noise[2:4], InitialNoise(7, 50, (1, 4, 4))[np.array([2, 3])])
    assert not np.array_equal(noise[:1], noise[1:2])
    assert not np.array_equal(noise[:1], InitialNoise(8, 5, (1, 4, 4))[:1])
    assert abs(float(InitialNoise(0, 400, (1, 8, 8))[:].std()) - 1) < 0.02


def test_samples_are_the_same_in_every_batch_size(tmp_path: Path) -> None:
    whole, parts = drawn(tmp_path / "whole", size=11), drawn(tmp_path / "parts", size=3)
    assert whole.key == parts.key
    assert whole.queries == parts.queries == parts.queries_spent == 11 * STEPS
    assert np.abs(whole.pixels[:].astype(int) - parts.pixels[:]).max() <= 1
    assert len(np.unique(whole.pixels[:], axis=0)) > 1


def test_samples_are_drawn_once_for_all_attacks(tmp_path: Path) -> None:
    few = ["attack.samples=11", f"attack.steps={STEPS}"]
    spent, shared = [], []
    for name, more in [
        ("gan_leaks", []),
        ("monte_carlo_set", []),
        ("over_representation", []),
        ("logan", ["attack.training_steps=2"]),
        ("tvd", ["attack.training_steps=2"]),
    ]:
        with one_run(tmp_path) as store:
            made = attack(f"+attack={name}", *few, *more).measure(memorizing(IMAGES), IMAGES, store, cpu_runtime())
        spent.append(made.queries_spent)
        shared.append(made.queries_per_sample)
        assert made.facts["generated"] == {"samples": 11, "steps": STEPS, "seed": 3}
        assert all(len(values) == N for values in made.values.values())
    assert spent == [11 * STEPS, 0, 0, 0, 0]
    assert shared == [10] * 5  # 55 queries for 6 images
    other = attack("+attack=gan_leaks", *few, "attack.samples=12").measure(
        memorizing(IMAGES), IMAGES, Store(tmp_path), cpu_runtime()
    )
    assert other.queries_spent == 12 * STEPS


def test_a_killed_sampling_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SAVE_EVERY_S", -1.0)
    with pytest.raises(Killed):
        drawn(tmp_path, fails_after=2 * STEPS + 2)  # within the third batch; the second was still on its way
    continued = drawn(tmp_path)
    killed = 2 * 4 * STEPS + 3 * 3  # as it was about to make the third of the last batch
    assert continued.queries_spent == killed + (11 - 4) * STEPS
    assert continued.queries == 11 * STEPS
    assert np.array_equal(continued.pixels[:], drawn(tmp_path / "whole").pixels[:])


def test_steps_beyond_the_timesteps_are_refused() -> None:
    with pytest.raises(UserError, match=r"attack\.steps=1001 exceeds the 1000 timesteps"):
        attack("+attack=logan", "attack.steps=1001").check(Timesteps.with_signal_everywhere(len(ALPHAS)))


SAMPLED = ("gan_leaks", "monte_carlo_set", "over_representation", "logan", "tvd", "extraction", "pfami")


@pytest.mark.parametrize("name", SAMPLED)
def test_latent_targets_are_refused_before_they_are_trained(name: str) -> None:
    with pytest.raises(UserError, match=r"for (unconditional )?targets in pixel space"):
        Components.from_config(compose_config(f"+attack={name}", "target=latent_ddpm"))


def test_targets_that_take_labels_generate_no_samples_and_are_cropped() -> None:
    labelled = "target=ddpm_small_labelled"
    with pytest.raises(UserError, match=r"attack\.samples=1000 .* for unconditional targets in pixel space"):
        Components.from_config(compose_config("+attack=gan_leaks", labelled))
    with pytest.raises(UserError, match=r"quality\.samples=\d+ .* for unconditional targets in pixel space"):
        Components.from_config(compose_config("quality=measured", labelled))
    Components.from_config(compose_config("+attack=pfami", labelled))
