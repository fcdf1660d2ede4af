"""Nothing heavy is imported for help, a configuration or a mistake, nor by a run that reuses all results."""

import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from secmi_exp.testing import image_folders
from tests.support.commands import CONF, Command, Finished
from tests.support.runs import run_here
from tests.support.tiny_pipelines import SIDE, save_stable_diffusion

HEAVY = {
    "torch", "torchvision", "torchmetrics", "pytorch_lightning", "lightning_fabric", "transformers", "diffusers",
    "peft", "opacus", "datasets", "sklearn", "skimage", "scipy", "matplotlib", "pandas", "pyarrow", "wandb", "optuna",
}  # fmt: skip

NEEDED = {"scipy", "matplotlib", "pandas", "pyarrow"}
"""By intervals, figures and tables."""

SCRIPT = """
import gc, sys
gc.disable()  # nothing of what is imported is garbage
from hydra import compose, initialize_config_dir
import secmi_exp.pipeline, secmi_exp.split_checks.split_check, secmi_exp.attacks.blind
from secmi_exp.configuration.components import Components
from tests.support.configuration_files import parse_once
parse_once()
with initialize_config_dir(sys.argv[1], version_base="1.3"):
    for choice in sys.argv[2:]:
        Components.from_config(compose("config", choice.split()))
heavy = ("torch", "pytorch_lightning", "transformers", "diffusers", "opacus", "peft", "datasets", "sklearn", "scipy")
print(*(name for name in heavy if name in sys.modules))
"""


def imported_by(finished: Finished) -> set[str]:
    """The top-level packages that a command has imported, which has run with -X importtime."""
    return set(re.findall(r"^import time:.*\| +(\w+)", finished.stderr, re.MULTILINE))


def slow(arguments: str) -> ParameterSet:
    """A variant of a command that is tried anyway."""
    return pytest.param(arguments, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        slow("--cfg job dataset=cifar10 target=secmi_checkpoint"),
        "--cfg job +attack=cdi target=finetuned quality=measured logger=wandb",
        slow("dataset=cifar10 target.max_steps=a"),
        slow("dataset=tinyin target=secmi_checkpoint target.weights=3"),
        "target=finetuned dataset=captioned target.seed=-1",
        "+attack=cdi attack.nme=x",
        slow("defense=dp_sgd defense.max_grad_norm=0"),
        slow("seed=a"),
        "--config-dir /nowhere seed=1",
    ],
)
def test_help_configuration_and_mistakes_need_nothing_heavy(arguments: str, secmi: Command) -> None:
    secmi.module = [sys.executable, "-X", "importtime", "-m", "secmi_exp"]
    finished = secmi(*arguments.split())
    assert not imported_by(finished) & HEAVY
    assert ("\nsecmi_exp: " in finished.stderr) == (finished.returncode == 1) == (not finished.stdout)


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def loaded(*overrides: str) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, str(CONF), *overrides]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_configurations_of_all_attacks_targets_and_defenses_are_read_without_anything_heavy() -> None:
    attacks = [f"+attack={name}" for name in choices("attack") if name != "scores"]
    defenses = [f"defense={name}" for name in choices("defense")]
    without_path = ("latent_ddpm", "module")
    targets = [f"target={name} target.path=somewhere" for name in choices("target") if name not in without_path]
    both = [" ".join(each) for each in zip_longest(attacks, defenses, fillvalue="")]
    assert loaded(*both, *targets, "target=latent_ddpm") == []


@pytest.mark.slow
def test_a_network_of_ones_own_needs_torch_alone() -> None:
    path = "target.path={kind:flow,num_train_timesteps:1000} target.prediction=velocity target.time=float"
    assert loaded(f"target=module target.factory=a.b target.weights=somewhere {path}") == ["torch"]


def test_a_run_that_finds_everything_in_the_store_computes_with_nothing(smoke_again: Finished) -> None:
    assert not imported_by(smoke_again) & (HEAVY - NEEDED)


def test_nor_does_one_on_a_pipeline_from_elsewhere(tmp_path: Path, secmi: Command) -> None:
    target = ["target=pipeline", f"target.path={save_stable_diffusion(tmp_path / 'model')}", "target.prompt=none"]
    overrides = [
        "+attack=pia", *image_folders(tmp_path, shape=(SIDE, SIDE)), *target, "evaluation.bootstrap_rounds=50",
        "trainer.accelerator=cpu", "logger=none", f"paths.store={tmp_path}/store",
    ]  # fmt: skip
    run_here(tmp_path / "first", *overrides, base=[])
    secmi.module = [sys.executable, "-X", "importtime", "-m", "secmi_exp"]
    again = secmi(*overrides)
    assert again.returncode == 0
    assert not imported_by(again) & (HEAVY - NEEDED)
