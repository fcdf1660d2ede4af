"""DP-SGD: gradients of single images, clipped, with noise; the privacy spent; a kill; memory."""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from diffusers import UNet2DModel
from opacus.accountants import PRVAccountant, RDPAccountant
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from secmi_exp.defenses.accounting import Spending
from secmi_exp.defenses.dp_sgd import DPSGD
from secmi_exp.defenses.private_step import ContiguousHooks, PrivateStep
from secmi_exp.engine.batches import PoissonOrder, TrainingBatches
from secmi_exp.engine.optimization import Draws, Optimization
from secmi_exp.engine.training import fit, newest_checkpoint
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.pixel import training
from secmi_exp.targets.pixel.training import PixelTraining
from secmi_exp.testing import cpu_runtime, no_logger
from tests.support.defended import MEMBERS, recipe, trained, weights
from tests.support.hostile_files import is_empty

DP = ["defense=dp_sgd", "defense.microbatch_size=3"]


def settings(**given: Any) -> DPSGD:
    default: dict[str, Any] = {
        "noise_multiplier": 0.0, "max_grad_norm": 0.5, "delta": 1e-5, "max_epsilon": None, "accountant": "rdp",
        "microbatch_size": 3,
    }  # fmt: skip
    return DPSGD(name="dp_sgd", **default | given)


@dataclass
class OneStep:
    """The recipe of a training of a single step."""

    optimizer: dict[str, Any]
    batch_size: int = 4
    max_steps: int = 1
    checkpoint_every: int = 1


class Line(Optimization):
    """y = w · x + b, squared error; trained by DP-SGD."""

    def __init__(self, privacy: DPSGD, samples: int):
        recipe = OneStep({"_target_": "torch.optim.SGD", "lr": 0.1})
        step = privacy.training_step(recipe, samples)
        super().__init__(recipe.optimizer, "target.optimizer", 0, 0, step=step)
        self.line = nn.Linear(2, 1)
        nn.init.constant_(self.line.weight, 0.5)
        nn.init.zeros_(self.line.bias)

    def loss(self, arrays: list[Tensor], draws: Draws) -> Tensor:
        x, y = arrays
        return (self.line(x)[:, 0] - y).square().mean()


class Given(TrainingBatches):
    """The first samples as a batch, as a Poisson batch may turn out."""

    drawn: int

    def train_dataloader(self) -> Any:
        return self.loader([slice(0, self.drawn)])


def one_step(module: Optimization, folder: Path, drawn: int, *arrays: Any) -> None:
    batches = Given(*arrays, batch_size=4, seed=0)
    batches.drawn = drawn
    assert isinstance(module.step, PrivateStep)
    fit(
        module, batches, name="line", workspace=folder, runtime=cpu_runtime(), logger=None, max_steps=1,
        checkpoint_every=1,
    )  # fmt: skip


def test_each_samples_gradient_is_clipped_before_they_are_summed(tmp_path: Path) -> None:
    x = np.array([[1, 0], [0, 2], [3, 1], [0.1, 0], [1, 1], [2, 2], [0, 0.2]], dtype=np.float32)
    y = np.array([0.4, 5, -1, 0, 1.1, 2.5, 0.05], dtype=np.float32)
    module = Line(settings(), len(x))
    one_step(module, tmp_path, len(x), x, y)
    residual = x @ np.array([0.5, 0.5]) - y
    gradients = 2 * residual[:, None] * np.column_stack([x, np.ones(len(x))])
    norms = np.linalg.norm(gradients, axis=1)
    assert (norms > 0.5).any()
    assert (norms < 0.5).any()
    clipped = gradients * np.minimum(1, 0.5 / norms)[:, None]
    expected = np.array([0.5, 0.5, 0]) - 0.1 * clipped.sum(axis=0) / 4  # by the expected size, not the actual one
    np.testing.assert_allclose(weights(module.line).numpy(), expected, atol=1e-5)


def test_noise_has_the_stated_deviation_even_where_no_sample_was_drawn(tmp_path: Path) -> None:
    class Wide(Optimization):
        def __init__(self) -> None:
            recipe = OneStep({"_target_": "torch.optim.SGD", "lr": 1.0})
            step = settings(noise_multiplier=2.0, max_grad_norm=3.0).training_step(recipe, 8)
            super().__init__(recipe.optimizer, "target.optimizer", 0, 0, step=step)
            self.line = nn.Linear(5000, 1, bias=False)
            nn.init.zeros_(self.line.weight)

        def loss(self, arrays: list[Tensor], draws: Draws) -> Tensor:
            raise AssertionError("there is nothing to take the loss of")

    module = Wide()
    one_step(module, tmp_path, 0, np.zeros((8, 5000), dtype=np.float32))
    assert weights(module.line).std().item() == pytest.approx(2.0 * 3.0 / 4, rel=0.04)
    assert weights(module.line).mean().item() == pytest.approx(0, abs=0.1)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_gradients_of_the_papers_kind_of_network_are_each_images_own() -> None:
    """With attention, behind which opacus' own hooks give wrong ones."""
    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None, norm_num_groups=4,
    )  # fmt: skip
    x_t, t, eps = torch.randn(3, 1, 8, 8), torch.tensor([1, 50, 900]), torch.randn(3, 1, 8, 8)
    hooks = ContiguousHooks(network, loss_reduction="mean")
    nn.functional.mse_loss(network(x_t, t).sample, eps).backward()
    found = [each.grad_sample for each in network.parameters()]
    hooks.cleanup()
    for i in range(3):
        network.zero_grad()
        nn.functional.mse_loss(network(x_t[i : i + 1], t[i : i + 1]).sample, eps[i : i + 1]).backward()
        for each, own in zip(network.parameters(), found, strict=True):
            torch.testing.assert_close(own[i], each.grad, rtol=1e-4, atol=1e-6)


def test_batches_hold_each_sample_with_the_same_probability_and_resume() -> None:
    order = PoissonOrder(50, 10, seed=3)
    batches = [batch for batch, _ in zip(order, range(800), strict=False)]
    sizes = np.array([len(batch) for batch in batches])
    assert sizes.mean() == pytest.approx(10, abs=0.4)
    assert sizes.std() == pytest.approx(math.sqrt(50 * 0.2 * 0.8), rel=0.1)
    seen = np.bincount(np.concatenate(batches), minlength=50) / 800
    assert np.abs(seen - 0.2).max() < 0.06
    later = next(iter(PoissonOrder(50, 10, seed=3, start=7)))
    np.testing.assert_array_equal(later, batches[7])
    np.testing.assert_array_equal(next(iter(PoissonOrder(5, 10, seed=3))), np.arange(5))


class Kill(pl.Callback):
    """Ends the process, as it were, in the middle of a step."""

    def on_train_batch_start(self, trainer: pl.Trainer, *arguments: Any) -> None:
        if trainer.global_step == 4:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_killed_training_continues_to_the_undisturbed_weights(tmp_path: Path) -> None:
    given = [*DP, "target.checkpoint_every=3", "target.network.dropout=0.2"]
    undisturbed = weights(trained(tmp_path / "undisturbed", *given))
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        training.train(recipe(*given), MEMBERS, tmp_path / "killed", cpu_runtime(), logger=None, callbacks=[Kill()])
    newest = newest_checkpoint(tmp_path / "killed/scratch/checkpoints", below_step=6)
    assert newest is not None
    assert newest.stem == "step=000000003"
    assert torch.equal(weights(trained(tmp_path / "killed", *given)), undisturbed)
    assert not torch.equal(weights(trained(tmp_path / "quiet", *given, "defense.noise_multiplier=0.5")), undisturbed)


@pytest.mark.parametrize(
    ("accountant", "kind"), [("rdp", RDPAccountant), pytest.param("prv", PRVAccountant, marks=pytest.mark.slow)]
)
def test_the_target_tells_the_epsilon_of_opacus_own_accountant(tmp_path: Path, accountant: str, kind: Any) -> None:
    target = recipe(*DP, f"defense.accountant={accountant}", "defense.noise_multiplier=1.3")
    prepared = target.prepare(MEMBERS, Store(tmp_path), cpu_runtime(), no_logger)
    opacus = kind()
    for _ in range(6):
        opacus.step(noise_multiplier=1.3, sample_rate=8 / 24)
    told = json.loads((prepared.folder / "privacy.json").read_text())
    assert told["epsilon"] == pytest.approx(opacus.get_epsilon(1e-5), rel=1e-12)
    assert (told["delta"], told["steps"], told["sample_rate"]) == (1e-5, 6, 8 / 24)
    assert prepared.facts == {"privacy": told}


def test_training_stops_before_it_exceeds_the_epsilon(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    spending = Spending(1.0, 8 / 24, 1e-5, "rdp")
    limit = (spending.epsilon(4) + spending.epsilon(5)) / 2
    module = trained(tmp_path, *DP, f"defense.max_epsilon={limit}")
    assert module.global_step == 4
    assert "DP-SGD stopped after 4 of 6 steps: ε=" in caplog.text
    assert "would exceed defense.max_epsilon=" in caplog.text
    longer = Spending(1.0, 0.1, 1e-5, "rdp")
    steps = longer.affordable(10**6, 3.0)
    assert longer.epsilon(steps) <= 3.0 < longer.epsilon(steps + 1)
    assert longer.affordable(steps - 1, 3.0) == steps - 1
    with pytest.raises(UserError, match=r"One step of DP-SGD spends ε=.*: raise it or defense\.noise_multiplier"):
        trained(tmp_path / "none", *DP, "defense.max_epsilon=0.1")


def test_without_noise_there_is_no_guarantee(tmp_path: Path) -> None:
    target = recipe(*DP, "defense.noise_multiplier=0", "target.max_steps=1")
    prepared = target.prepare(MEMBERS, Store(tmp_path), cpu_runtime(), no_logger)
    assert json.loads((prepared.folder / "privacy.json").read_text())["epsilon"] is None


@pytest.mark.parametrize("batch_size", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_no_more_images_are_in_the_network_than_a_microbatch(
    tmp_path: Path, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    kept: list[int] = []
    loss = PixelTraining.loss

    def watched(self: PixelTraining, arrays: list[Tensor], draws: Draws) -> Tensor:
        seen.append(len(arrays[0]))
        held = [each.grad_sample for each in self.network.parameters() if each.grad_sample is not None]
        kept.append(len(held))
        assert draws.normal(2).shape == (len(arrays[0]), 2)  # nor are numbers drawn for more
        return loss(self, arrays, draws)

    monkeypatch.setattr(PixelTraining, "loss", watched)
    trained(tmp_path, *DP, f"target.batch_size={batch_size}", "target.max_steps=3")
    assert max(seen) == 3
    assert sum(seen) == sum(len(batch) for batch, _ in zip(PoissonOrder(24, batch_size, 0), range(3), strict=False))
    assert not any(kept)  # single images' gradients are gone before the next microbatch


def test_bfloat16_clips_in_full_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: set[torch.dtype] = set()
    clip = DPOptimizer.clip_and_accumulate

    def watched(self: Any) -> None:
        kinds.update(each.dtype for each in self.grad_samples)
        clip(self)

    monkeypatch.setattr(DPOptimizer, "clip_and_accumulate", watched)
    assert torch.isfinite(weights(trained(tmp_path, *DP, "target.max_steps=1", precision="bf16"))).all()
    assert kinds == {torch.float32}


def test_what_cannot_be_private_is_refused_before_anything_is_kept(tmp_path: Path) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"devices": 2}, "trains on one device, and there are 2: set trainer.devices=1"),
        ({"precision": "16"}, "scaled for float16: set trainer.precision"),
        ({"compile": True}, "set trainer.compile=auto"),
    ]
    for given, message in refused:
        with pytest.raises(UserError, match=message):
            recipe(*DP).prepare(MEMBERS, Store(tmp_path), cpu_runtime(**given), no_logger)
        assert is_empty(tmp_path)
    mixing = Line(settings(), 4)
    mixing.norm = nn.BatchNorm1d(2)
    x, y = np.zeros((4, 2), dtype=np.float32), np.zeros(4, dtype=np.float32)
    with pytest.raises(UserError, match=r"can't be trained with defense=dp_sgd .*GroupNorm"):
        one_step(mixing, tmp_path, 4, x, y)
