"""The example workflow of a release gate: it can be read, its command exists, and its steps run on a small target."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

from secmi_exp.testing import compose_config, image_folders
from tests.support.commands import REPOSITORY
from tests.support.diffusers_folders import pipeline

WORKFLOW: dict[Any, Any] = yaml.safe_load((REPOSITORY / "examples/release-gate.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["gate"]["steps"]
RUN = {step["name"]: step["run"] for step in STEPS if "run" in step}


def test_the_workflow_starts_on_tags_and_may_write_nothing() -> None:
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}, "workflow_dispatch": None}  # YAML reads "on" as a truth value
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert list(RUN) == ["Install", "Judge", "Show the summary"]


def test_its_command_composes_with_its_limits() -> None:
    command = shlex.split(Template(RUN["Judge"]).substitute(WORKFLOW["env"]))
    assert command[:3] == ["python", "-m", "secmi_exp"]
    config = compose_config(*command[3:])
    limits = {name: limit for name, limit in config.gate.items() if limit is not None}
    assert limits == {"max_auc": 0.55, "max_tpr_at_1pct": 0.02, "max_epsilon": 8}
    assert (config.target.path, config.dataset.image_size) == ("model", 32)


def test_it_installs_from_a_repository_that_its_reader_names() -> None:
    assert RUN["Install"] == 'pip install "$SECMI_EXP"'
    assert WORKFLOW["env"]["SECMI_EXP"].startswith("git+https://")


def test_what_it_keeps_has_no_images() -> None:
    (kept,) = [step["with"]["path"].split() for step in STEPS if step.get("uses", "").startswith("actions/upload")]
    assert kept == ["gate/gate.md", "gate/gate.xml", "gate/results.json"]


@pytest.mark.slow
def test_its_steps_judge_a_small_target_and_show_the_summary(tmp_path: Path) -> None:
    pipeline(tmp_path / "model")
    image_folders(tmp_path, count=24)
    environment = {
        **os.environ,
        **WORKFLOW["env"],
        "MEMBERS": "members",
        "HOLDOUTS": "holdout",
        "IMAGE_SIZE": "8",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    ended = {
        name: subprocess.run(
            ["bash", "-e", "-c", RUN[name]], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        for name in ("Judge", "Show the summary")
    }
    judged = ended["Judge"]
    assert judged.returncode == 4, judged.stderr
    assert "secmi_exp: The gate is undecided: stat's " in judged.stderr
    assert ended["Show the summary"].returncode == 0
    assert (tmp_path / "summary.md").read_text() == (tmp_path / "gate/gate.md").read_text()
    assert (tmp_path / "gate/gate.xml").is_file()
