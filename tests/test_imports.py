"""Reading a configuration imports nothing heavy, whichever attack, target or defense it names."""

import subprocess
import sys

from tests.support.commands import CONF

HEAVY = {
    "torch", "torchvision", "torchmetrics", "pytorch_lightning", "lightning_fabric", "transformers", "diffusers",
    "peft", "opacus", "datasets", "sklearn", "skimage", "scipy", "matplotlib", "pandas", "pyarrow", "wandb", "optuna",
}  # fmt: skip

SCRIPT = """
import sys
from hydra import compose, initialize_config_dir
import secmi_exp.pipeline, secmi_exp.data.checks.split_check, secmi_exp.attacks.blind
from secmi_exp.configuration.components import Components
with initialize_config_dir(sys.argv[1], version_base="1.3"):
    for choice in sys.argv[2:]:
        Components.from_config(compose("config", choice.split()))
heavy = ("pytorch_lightning", "transformers", "diffusers", "opacus", "peft", "datasets", "sklearn", "scipy")
print(*(name for name in heavy if name in sys.modules))
"""


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def loaded(*overrides: str) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, str(CONF), *overrides]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_configurations_of_all_attacks_are_read_without_anything_heavy() -> None:
    assert loaded(*(f"+attack={name}" for name in choices("attack") if name != "scores")) == []


def test_configurations_of_all_targets_and_defenses_are_read_without_anything_heavy() -> None:
    targets = [f"target={name} target.path=somewhere" for name in choices("target") if name != "latent_ddpm"]
    assert loaded(*targets, "target=latent_ddpm", *(f"defense={name}" for name in choices("defense"))) == []
