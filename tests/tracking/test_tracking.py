"""Weights & Biases never holds a run up, and is sent nothing that it can't take."""

import sys
import time
from pathlib import Path

import pytest

from secmi_exp.tracking.tracker import RunIdentity
from secmi_exp.tracking.wandb_tracker import WandbTracker, unicode_arguments


def test_a_server_that_stops_answering_delays_the_end_by_the_timeout_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunIdentity(folder=tmp_path, name="n", config={}, group=None, job_type="stat", tags=[])
    tracker = WandbTracker(run, project="p", entity=None, mode="disabled", timeout_s=0.2, artifacts=False)
    tracker.mode = "online"
    monkeypatch.setattr(tracker, "_finish", lambda failed: time.sleep(60))
    started = time.monotonic()
    tracker.finish(failed=False)
    assert time.monotonic() - started < 5
    assert "wandb sync" in caplog.text
    tracker.run.finish()  # a run that is open would change how W&B reads its credentials in other tests


def test_a_command_line_with_a_name_in_latin_1_is_escaped_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["secmi_exp", "dataset.path=\udce9"]
    monkeypatch.setattr(sys, "argv", given)
    with unicode_arguments():
        assert sys.argv == ["secmi_exp", "dataset.path=\\udce9"]
    assert sys.argv is given
