"""Warnings about the data and the target: one place collects them, and every reader of a result sees them."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from secmi_exp.report import write_report
from secmi_exp.reporting.sweep_output import close_sweep
from secmi_exp.run_warnings import RunWarning, collect_warnings, grave_first, warn
from tests.support.commands import REPOSITORY
from tests.support.runs import MEMORIZING, run_here
from tests.support.unrendered import unrendered_figures

QUIET = (
    "data",
    "targets",
    "attacks",
    "defenses",
    "diffusion",
    "evaluation",
    "quality",
    "pipeline.py",
)
"""Of the package: where a warning is about the data or the target …"""
COURSE_OF_THE_RUN = ("decoded_rows.py",)
"""… unless it says what a stopped run has left."""


def test_no_warning_about_data_or_target_is_in_the_log_alone() -> None:
    package = REPOSITORY / "secmi_exp"
    files = [
        file
        for place in QUIET
        for file in ([package / place] if place.endswith(".py") else (package / place).rglob("*.py"))
    ]
    assert len(files) > 80
    calls = [
        f"{file.relative_to(package)}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("log", "logging", "warnings")
        and node.func.attr in ("warning", "warn", "error", "critical")
        and file.name not in COURSE_OF_THE_RUN
    ]
    assert calls == []


def test_warnings_are_collected_per_run_each_once_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with collect_warnings() as first:
        warn("a", "One.", side="members", count=3)
        warn("a", "One.", side="members", count=3)
        warn("b", "Two.", grave=True)
    with collect_warnings() as second:
        warn("a", "One.")
    warn("c", "Outside of a run.")
    assert first == [RunWarning("a", "One.", "members", 3), RunWarning("b", "Two.", grave=True)]
    assert second == [RunWarning("a", "One.")]
    assert [record.message for record in caplog.records] == ["One.", "Two.", "One.", "Outside of a run."]


def test_a_warning_stands_in_results_table_page_and_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    for side, rows in (("members", range(30)), ("holdout", [0, *range(31, 60)])):  # one hold-out is a member's copy
        (tmp_path / side).mkdir()
        for row in rows:
            Image.fromarray(pixels[row]).save(tmp_path / side / f"{row}.png")
    given = ["+attack=stat", "dataset=image_folder", "dataset.image_size=8", "dataset.channels=1"]
    given += [f"dataset.{side}={tmp_path / side}" for side in ("members", "holdout")]
    given += ["split.members=null", "split.holdouts=null"]
    sentence = "1 hold-outs have the very pixels of a member"
    for t_sec in (10, 20):
        job = run_here(tmp_path, *given, f"attack.t_sec={t_sec}", base=MEMORIZING)
        assert capsys.readouterr().out.count(sentence) == 1
        (job / ".hydra").mkdir()
        OmegaConf.save(OmegaConf.create([f"attack.t_sec={t_sec}"]), job / ".hydra/overrides.yaml")
    results = json.loads((job / "results.json").read_text())
    (warning,) = (each for each in results["warnings"] if each["code"] == "holdouts_equal_to_a_member")
    assert (warning["side"], warning["count"], warning["grave"]) == ("holdouts", 1, True)
    assert sentence in warning["sentence"]
    with unrendered_figures():
        close_sweep(job.parent)
    assert capsys.readouterr().out.count(sentence) == 1  # for both jobs
    assert "holdouts_equal_to_a_member" in (job.parent / "summary.csv").read_text()
    write_report([job.parent], tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count(sentence) == 1


def test_grave_warnings_come_first_and_say_what_they_mean() -> None:
    warnings = [RunWarning("a", "One."), RunWarning("b", "Two.", grave=True), RunWarning("c", "Three.")]
    assert [f"{each.heading}: {each.sentence}" for each in grave_first(warnings)] == [
        "Figures are no measure of a leak: Two.", "Warning: One.", "Warning: Three.",
    ]  # fmt: skip
