"""A defense of one's own that changes the training step, without a word about it in the targets."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import ConfigDict, PositiveFloat
from pydantic.dataclasses import dataclass
from torch import Tensor

from secmi_exp.defenses.defense import Defense, Recipe
from secmi_exp.engine.training_step import TrainingStep
from secmi_exp.store import Store, write_json
from secmi_exp.targets.pixel import training
from secmi_exp.testing import cpu_runtime, no_logger
from tests.support.defended import MEMBERS, draws, recipe, weights

LEVEL = 3.0
"""Of the loss, which is about 1 at the beginning, so that the training ascends."""


class Flooding(TrainingStep):
    """Descends to the level, and ascends below it: |loss − level| + level (Ishida et al., ICML 2020)."""

    def __init__(self, level: float, max_steps: int):
        self.level, self.max_steps = level, max_steps

    def take(self, module: Any, batch: list[Any]) -> Tensor:
        return (module.ordinary_step(batch) - self.level).abs() + self.level

    def save_report(self, folder: Path) -> None:
        write_json(folder / "flooding.json", {"level": self.level})


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FloodingDefense(Defense):
    report_files: ClassVar[tuple[str, ...]] = ("flooding.json",)

    level: PositiveFloat

    def training_step(self, recipe: Recipe, samples: int) -> TrainingStep:
        return Flooding(self.level, recipe.max_steps)


class Noisy(TrainingStep):
    """Steps the optimizer itself, on Poisson batches, with noise on the gradient."""

    manual = True
    poisson = True

    def __init__(self) -> None:
        self.max_steps, self.sizes = 3, list[int]()

    def take(self, module: Any, batch: list[Any]) -> Tensor:
        (images,) = batch
        self.sizes.append(len(images))
        optimizer = module.optimizers()
        optimizer.zero_grad()
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        return torch.zeros(())


class NoisyDefense(Defense):
    def training_step(self, recipe: Recipe, samples: int) -> TrainingStep:
        return Noisy()


def test_its_step_trains_the_target_and_its_report_lies_beside_the_weights(tmp_path: Path) -> None:
    plain = recipe("target.max_steps=10", "target.ema_decay=0")
    flooded = replace(plain, defense=FloodingDefense(name="flooding", level=LEVEL))
    prepared = flooded.prepare(MEMBERS, Store(tmp_path), cpu_runtime(), no_logger)
    assert (prepared.folder / "flooding.json").is_file()
    assert not flooded.prepare(MEMBERS, Store(tmp_path), cpu_runtime(), no_logger).trained_now
    assert prepared.digest != plain.key(MEMBERS, cpu_runtime()).digest

    def final_loss(defended: bool) -> float:
        target, folder = (flooded if defended else plain), tmp_path / str(defended)
        module = training.train(target, MEMBERS, folder, cpu_runtime(), logger=None)
        with torch.no_grad():
            return module.loss([torch.from_numpy(MEMBERS[:24])], draws(0, 24, 24)).item()

    assert final_loss(defended=False) < final_loss(defended=True)


def test_it_may_step_the_optimizer_itself_on_poisson_batches(tmp_path: Path) -> None:
    target = replace(
        recipe(
            "target.optimizer._target_=torch.optim.SGD",
            "target.optimizer.lr=0.5",
            "target.ema_decay=0",
            "target.warmup_steps=0",
        ),
        defense=NoisyDefense("noisy"),
    )
    torch.manual_seed(target.seed)
    before = weights(training.PixelTraining(target))
    module = training.train(target, MEMBERS, tmp_path, cpu_runtime(), logger=None)
    assert isinstance(module.step, Noisy)
    assert len(module.step.sizes) == 3
    assert len(set(module.step.sizes)) > 1
    torch.testing.assert_close(weights(module), before - 3 * 0.5)


@pytest.mark.slow
def test_opacus_is_not_loaded_by_other_trainings(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from secmi_exp.targets.pixel import training
from tests.support.defended import trained
trained(Path({str(tmp_path)!r}), "defense=cutout", "target.max_steps=1")
print("opacus" in sys.modules)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.split()[-1] == "False"
