"""The target's training in parts, in other precisions, and compiled: the same steps; and what a step leaves alone."""

import time
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from secmi_exp.engine import collectives
from secmi_exp.engine.compiling import CompileWhenItRepays
from secmi_exp.engine.rank_info import RankInfo
from secmi_exp.engine.training import MovingAverage
from secmi_exp.errors import UserError
from secmi_exp.targets.pixel import training
from secmi_exp.testing import cpu_runtime
from tests.support.gradient_descent import MEMBERS, recipe


def weights(folder: Path, *overrides: str, **settings: Any) -> torch.Tensor:
    """All averaged weights after a training, and their distance from the start at its beginning."""
    module = training.train(recipe(*overrides), MEMBERS, folder, cpu_runtime(**settings), logger=None)
    return torch.cat([parameter.detach().flatten() for parameter in module.network.parameters()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """The weights of a training in whole batches."""
    return weights(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "device_batch_size", [pytest.param(20, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.slow), 7]
)
def test_a_batch_in_parts_is_the_same_step(tmp_path: Path, whole: torch.Tensor, device_batch_size: int) -> None:
    parts = weights(tmp_path, device_batch_size=device_batch_size)
    torch.testing.assert_close(parts, whole, rtol=0, atol=2e-5)


def test_another_seed_gives_other_weights(tmp_path: Path, whole: torch.Tensor) -> None:
    assert (weights(tmp_path, "target.seed=1") - whole).abs().max() > 1e-3


@pytest.mark.parametrize("count", [7, 50])
def test_samples_take_no_more_steps_than_the_schedule_has(count: int) -> None:
    few = recipe(f"target.schedule.num_train_timesteps={count}")
    module = training.PixelTraining(few)
    samples = module.sample(training.initial_noise(few, MEMBERS))
    assert samples.isfinite().all()


def test_a_schedule_without_signal_at_its_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"target.schedule brings ᾱ to 0 at timestep \d+, from which .*lower"):
        training.PixelTraining(recipe("target.schedule.beta_end=0.9"))
    with pytest.raises(UserError, match=r"schedule.beta_end=1.0 can't be used: input should be less than 1"):
        recipe("target.schedule.beta_end=1.0")


def test_a_batch_smaller_than_its_shares_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collectives, "_current", RankInfo(0, 4))
    with pytest.raises(UserError, match="A batch of 3 can't be shared by 4 devices"):
        weights(tmp_path, "target.batch_size=3")


def test_flips_are_the_whole_batchs_own(tmp_path: Path) -> None:
    whole = weights(tmp_path / "whole", "target.horizontal_flip=true")
    parts = weights(tmp_path / "parts", "target.horizontal_flip=true", device_batch_size=6)
    torch.testing.assert_close(parts, whole, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("precision", "within"), [("64", 1e-4), ("bf16", 2e-2)])
def test_other_precisions_take_about_the_same_steps(
    tmp_path: Path, whole: torch.Tensor, precision: str, within: float
) -> None:
    difference = whole - weights(tmp_path / "other", precision=precision)
    assert 0 < difference.abs().max() < within, difference.abs().max()


def test_the_average_starts_from_the_initial_weights_and_follows(tmp_path: Path) -> None:
    class Steps(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return -self.weight.sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1.0)

    module = Steps()
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=3, callbacks=[MovingAverage(0.9)], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(3))))
    expected = 0.0
    for weight in (1, 2, 3):
        expected = 0.9 * expected + 0.1 * weight
    assert module.weight.item() == pytest.approx(expected)


def test_a_seeded_step_leaves_nothing_behind(tmp_path: Path) -> None:
    """`torch.manual_seed` would queue a call with a traceback for CUDA in each step."""
    if torch.cuda.is_available():
        pytest.skip("CUDA is initialised")
    before = len(torch.cuda._queued_calls)
    weights(tmp_path)
    assert len(torch.cuda._queued_calls) - before < 6


def test_compilation_waits_until_it_is_known_to_repay(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(CompileWhenItRepays, "_compile", lambda self, why: compiled.append(why))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for when, device, remaining, repays in [
        ("auto", "cuda", 1000, True), ("auto", "cuda", 100, False), ("auto", "cpu", 10_000, False),
        (False, "cuda", 10_000, False),
    ]:  # fmt: skip
        compiled.clear()
        callback = CompileWhenItRepays(when, nn.Identity())  # type: ignore[arg-type]
        for _ in range(50):
            clock[0] += 1.0
            callback._decide(torch.device(device), remaining)
        assert bool(compiled) == repays, (when, device, remaining)
        assert len(compiled) <= 1
    compiled.clear()
    CompileWhenItRepays(True, nn.Identity())
    assert compiled == ["as trainer.compile=true asks"]


@pytest.mark.slow
def test_a_compiled_training_takes_the_same_steps(tmp_path: Path) -> None:
    torch.testing.assert_close(weights(tmp_path / "a", compile=True), weights(tmp_path / "b"), rtol=0, atol=2e-5)
