"""What a target is worth: its loss on images it has not seen, and the distance of its samples from them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from secmi_exp.data.model_range import to_model_range
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.errors import UserError
from secmi_exp.quality.distances import inception_distance, kernel_distance
from secmi_exp.quality.inception import inception
from tests.support.inception import inception_weights
from tests.support.memorizing import ALPHAS, Memorizing, T
from tests.support.qualities import IS_MEMBER, PIXELS, RANDOM, SIDE, measured, quality
from tests.support.runs import run_here


def test_the_loss_is_the_trainings_own_on_each_side(tmp_path: Path) -> None:
    found = measured(tmp_path, "quality.noises=2")
    predictor = Memorizing(PIXELS[IS_MEMBER])
    x_0 = to_model_range(torch.from_numpy(PIXELS)).double()
    losses = []
    for t in (125, 375, 625, 875):  # the middles of four parts
        for j in range(2):
            drawn = np.random.default_rng([0, j]).standard_normal((1, SIDE, SIDE), dtype=np.float32)
            eps = torch.from_numpy(drawn).double()[None]
            x_t = ALPHAS[t] ** 0.5 * x_0 + (1 - ALPHAS[t]) ** 0.5 * eps
            losses.append((predictor.predict_noise(x_t, t) - eps).square().mean(dim=(1, 2, 3)))
    expected = torch.stack(losses).mean(dim=0).detach().numpy()
    assert found.metrics["denoising_loss"] == pytest.approx(expected[~IS_MEMBER].mean(), rel=1e-4)
    assert found.metrics["denoising_loss_members"] == pytest.approx(expected[IS_MEMBER].mean(), rel=1e-4)
    low, high = found.ci95["denoising_loss"] or (0, 0)
    assert low < found.metrics["denoising_loss"] < high
    assert found.metrics["denoising_loss_members"] < found.metrics["denoising_loss"]  # it knows them by heart


def test_what_was_measured_is_found_again_without_a_query(tmp_path: Path) -> None:
    first = measured(tmp_path)
    assert measured(tmp_path, fails_after=0) == first
    assert set(first.metrics) == set(first.ci95) >= {"kernel_distance", "kernel_distance_members"}


def test_without_samples_only_the_loss_is_measured(tmp_path: Path) -> None:
    assert set(measured(tmp_path, "quality.samples=null").metrics) == {"denoising_loss", "denoising_loss_members"}


def test_kernel_distance_of_one_block_is_torchmetrics_kid_of_the_pixels() -> None:
    first, second = (RANDOM.integers(0, 256, (10, 3, SIDE, SIDE), dtype=np.uint8) for _ in range(2))

    class Pixels(torch.nn.Module):
        num_features = 3 * SIDE * SIDE

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return to_model_range(images).flatten(1).double()

    theirs = []
    drawn = np.random.default_rng(5)
    blocks = [drawn.permutation(10).reshape(2, 5) for _ in range(2)]
    for ours, reference in zip(*blocks, strict=True):
        kid = KernelInceptionDistance(Pixels(), subsets=1, subset_size=5)
        kid.update(torch.from_numpy(first[ours]), real=False)
        kid.update(torch.from_numpy(second[reference]), real=True)
        theirs.append(float(kid.compute()[0]))
    value, (low, high) = kernel_distance(first, second, blocks=2, seed=5)
    assert value == pytest.approx(np.mean(theirs), rel=1e-5)
    assert low < value < high


def test_kernel_distance_covers_zero_for_images_alike_and_grows_with_their_difference() -> None:
    values = [
        [kernel_distance(dull(brightness, seed), dull(0, seed + 100), 8, seed) for seed in range(40)]
        for brightness in (0, 20, 60)
    ]
    covered = [low <= 0 <= high for _, (low, high) in values[0]]
    assert np.mean(covered) >= 0.85  # 0.95 to be expected; 34 of 40 or fewer come once in 70 times
    means = [np.mean([value for value, _ in each]) for each in values]
    assert abs(means[0]) < 0.01 < means[1] < means[2]
    assert all(low > 0 for _, (low, _) in values[2])


def dull(brightness: int, seed: int) -> np.ndarray[Any, Any]:
    noise = np.random.default_rng(seed).normal(100 + brightness, 30, (64, 1, SIDE, SIDE))
    return noise.clip(0, 255).astype(np.uint8)


@pytest.mark.slow
def test_fid_reads_a_file_of_weights_and_is_zero_for_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = inception_weights(tmp_path / "inception.pth", monkeypatch)
    images = RANDOM.integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", "/proc/none")
        network, device = inception(weights), torch.device("cpu")
    assert inception_distance(images, images, network, device) == pytest.approx(0.0, abs=1e-3)
    assert inception_distance(images, 255 - images // 4, network, device) > 1e-3


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"weight": Malicious()}, tmp_path / "inception.pth")
    with pytest.raises(UserError, match="can't be read as Inception's weights"):
        inception(tmp_path / "inception.pth")
    assert not (tmp_path / "ran").exists()


def test_settings_beyond_the_schedule_and_too_many_blocks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"quality.steps=1001 exceeds the 1000"):
        quality("quality.steps=1001").check(Timesteps.with_signal_everywhere(T))
    with pytest.raises(UserError, match=r"quality.timesteps=1001 exceeds the 1000"):
        quality("quality.timesteps=1001").check(Timesteps.with_signal_everywhere(T))
    with pytest.raises(UserError, match=r"quality.inception=nowhere is no file"):
        quality("quality.inception=nowhere").check(Timesteps.with_signal_everywhere(T))
    with pytest.raises(UserError, match=r"quality.blocks=7 are too many .* choose at most 6"):
        measured(tmp_path, "quality.blocks=7")


def test_a_run_tells_of_quality_with_and_without_an_attack(tmp_path: Path) -> None:

    asked = ["target.max_steps=2", "quality=measured", "quality.samples=40", "quality.steps=4", "quality.blocks=4"]
    alone, attacked = (json.loads((run_here(tmp_path, *asked, *more) / "results.json").read_text())
                       for more in ([], ["+attack=stat"]))  # fmt: skip
    assert alone["quality"] == attacked["quality"]
    assert set(alone["quality"]["metrics"]) == set(alone["quality"]["ci95"])
    assert alone["quality"]["metrics"]["kernel_distance"] > alone["quality"]["metrics"]["kernel_distance_members"]


def test_an_attack_that_asks_no_target_leaves_no_quality_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = run_here(tmp_path, "quality=measured", "+attack=blind")
    assert "quality is left out" in caplog.text
    assert "quality" not in json.loads((folder / "results.json").read_text())
