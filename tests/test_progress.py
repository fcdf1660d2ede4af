"""Where standard error is no terminal, lines of the log say how far long work is; on a terminal a bar does."""

import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from secmi_exp import progress
from secmi_exp.engine.batches import TrainingBatches
from secmi_exp.engine.rows import Prediction, fill_rows
from secmi_exp.engine.step_progress import StepProgressBar
from secmi_exp.engine.training import fit
from secmi_exp.formatting import as_duration
from secmi_exp.progress import ProgressLines, WorkProgress
from secmi_exp.store import SCRATCH
from secmi_exp.testing import cpu_runtime
from tests.support.commands import NN, Command
from tests.support.lines import Line

AT_ONCE = """
import sys
import secmi_exp.progress
from secmi_exp.__main__ import main
secmi_exp.progress.FIRST_LINE_S, secmi_exp.progress.LINE_EVERY_S = 0, 0
main()
"""


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def nobody_watches(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("FORCE_COLOR", "")  # rich then takes standard error for a file, whatever the tests run in
    caplog.set_level(logging.INFO)


def test_lines_come_after_a_quarter_of_a_minute_and_then_every_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    lines, read = ProgressLines("Training target", 1800, "steps", clock=clock), list[int]()
    for step in range(1, 1801):  # eight a second, of which the first takes 5 s
        clock.now += 5 if step == 1 else 0.125
        lines.advance(step, 32, lambda step=step: read.append(step) or 1 / step)  # type: ignore[misc]
    assert caplog.messages == [
        "Training target: 81 of 1800 steps, loss 0.01235, 173 images/s, 5 min left.",
        "Training target: 561 of 1800 steps, loss 0.001783, 256 images/s, 3 min left.",
        "Training target: 1041 of 1800 steps, loss 0.0009606, 256 images/s, 95 s left.",
        "Training target: 1521 of 1800 steps, loss 0.0006575, 256 images/s, 35 s left.",
    ]
    assert read == [81, 561, 1041, 1521]  # on a device, to read it is to wait


def test_work_that_is_continued_counts_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    lines = ProgressLines("Decoding images", 10_000, "images", 9000, clock)
    clock.now += 20
    lines.advance(9200, 200)
    assert caplog.messages == ["Decoding images: 9200 of 10000 images, 10 images/s, 80 s left."]


def test_steps_longer_than_a_minute_have_a_line_each_and_their_parts_none(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    lines = ProgressLines("Sampling", 3, "batches", clock=clock)
    for done in (0, 0, 1, 1, 2):
        clock.now += 3600
        lines.advance(done, 8)
    assert caplog.messages == [
        "Sampling: 1 of 3 batches, 0.00222 images/s, 6 h left.",
        "Sampling: 2 of 3 batches, 0.00222 images/s, 2 h left.",
    ]


def test_many_images_a_second_are_written_out(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    lines = ProgressLines("Encoding images", 4, "batches", clock=clock)
    clock.now += 15
    lines.advance(1, 1_500_000)
    assert "100000 images/s" in caplog.text


def test_durations_never_have_60_minutes_or_24_hours() -> None:
    for seconds in range(0, 400_000, 59):
        amounts = dict(reversed(part) for part in re.findall(r"(\d+) (\w+)", as_duration(seconds)))
        assert int(amounts.get("min", 0)) < 60
        assert int(amounts.get("h", 0)) < 24


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_has_a_bar_and_no_lines(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1" if terminal else "")
    monkeypatch.setenv("TERM", "xterm")
    with WorkProgress("Decoding images", 10, "images") as shown:
        assert (shown.lines is None) == terminal


def test_nothing_is_shown_where_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0)
    with WorkProgress("Decoding images", 10, "images", shown=False) as hidden:
        hidden.advance(5, 5)
    assert not caplog.messages
    assert not capsys.readouterr().err


def test_only_the_first_rank_writes_lines() -> None:
    bars = [StepProgressBar("Training target"), StepProgressBar("Training target")]
    bars[1].disable()
    for bar in bars:
        bar._start(10, "steps", 0)
    assert [bool(bar.progress and bar.progress.lines) for bar in bars] == [True, False]
    for bar in bars:
        bar._stop()


@pytest.mark.parametrize(("label", "named"), [(None, "line"), ("classifier", "classifier")])
def test_a_training_says_what_is_trained_how_far_and_at_what_loss(
    label: str | None, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    fit(
        Line(100, gradient_only=False), TrainingBatches(np.zeros(4, dtype=np.float32), batch_size=2, seed=0),
        name="line", label=label, workspace=tmp_path, runtime=cpu_runtime(progress_bar=True), logger=None, max_steps=9,
        checkpoint_every=3,
    )  # fmt: skip
    lines = [line.partition(" steps, loss ")[0] for line in caplog.messages if "images/s" in line]
    assert lines == [f"Training {named}: {step} of 9" for step in range(1, 10)]


def test_rows_say_how_many_batches_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    file = tmp_path / "rows.npy"
    (tmp_path / SCRATCH).mkdir()
    doubling = Prediction(lambda rows: [(file, 2 * rows)], torch.nn.Identity())
    rows, runtime = np.arange(10, dtype=np.float32), cpu_runtime(progress_bar=True)
    fill_rows(doubling, [rows], {file: ((), rows.dtype)}, [tmp_path], runtime, 4, label="Sampling")
    lines = [line.partition(" batches, ")[0] for line in caplog.messages if "batches" in line]
    assert lines == ["Sampling: 1 of 3", "Sampling: 2 of 3", "Sampling: 3 of 3"]


@pytest.mark.slow
def test_a_run_without_a_terminal_has_lines_of_all_its_work_in_its_log_too(secmi: Command) -> None:
    secmi.module = [sys.executable, "-c", AT_ONCE]
    finished = secmi(*NN, "logger=none", "attack.t_sec=20", "trainer.query_batch_size=32", FORCE_COLOR="")
    assert finished.returncode == 0, finished.stderr
    for text in (finished.stderr, (finished.folder / "secmi_exp.log").read_text()):
        for work, unit in (
            ("Decoding images", "images"),
            ("Training target", "steps, loss"),
            ("Predicting", "batches"),
            ("Training classifier", "steps, loss"),
        ):
            assert len(re.findall(rf"{work}: \d+ of \d+ {unit}.* images/s, \d+ s left\.", text)) >= 2, (work, text)
