"""A run that finds everything in the store imports nothing heavy."""

import subprocess
import sys

from tests.support.commands import CONF

SCRIPT = """
import sys
from hydra import compose, initialize_config_dir
import secmi_exp.pipeline, secmi_exp.data.checks.split_check, secmi_exp.attacks.blind
from secmi_exp.configuration.components import Components
with initialize_config_dir(sys.argv[1], version_base="1.3"):
    for attack in sys.argv[2:]:
        Components.of(compose("config", [f"+attack={attack}"]))
heavy = ("torch", "pytorch_lightning", "transformers", "diffusers", "opacus", "peft", "datasets", "sklearn", "scipy")
print(*(name for name in heavy if name in sys.modules))
"""


def test_configurations_of_all_attacks_are_read_without_anything_heavy() -> None:
    attacks = sorted(path.stem for path in (CONF / "attack").glob("*.yaml") if path.stem != "scores")
    command = [sys.executable, "-c", SCRIPT, str(CONF), *attacks]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stdout.split() == []
