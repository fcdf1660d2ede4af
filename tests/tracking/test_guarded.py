"""No call of a tracker, nor of the logger that it hands out, can end a run."""

import inspect
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from secmi_exp.tracking.guarded import Outage
from secmi_exp.tracking.lightning_loggers import MetricsFile, WandbMetrics
from secmi_exp.tracking.logger import CsvTracker, csv_tracker
from secmi_exp.tracking.tracker import RunIdentity, Tracker, start_tracker
from tests.support.runs import MEMORIZING, run_here

CALLS = [name for name, found in vars(Tracker).items() if isinstance(found, FunctionType) and name[0] != "_"]


class Breaking(Exception):
    """What a tracker raises that has broken."""


def broken(call: str) -> Tracker:
    """A tracker of which one call fails."""

    def fail(*arguments: Any, **named: Any) -> None:
        raise Breaking("no service\nand more")

    return type("Broken", (Tracker,), {call: fail})()


@pytest.mark.parametrize("call", CALLS)
def test_a_failure_of_any_call_is_told_in_one_line_and_ends_the_tracking_alone(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = broken(call)
    arguments = {name: None for name in inspect.signature(getattr(Tracker, call)).parameters if name != "self"}
    for _ in range(2):
        assert getattr(tracker, call)(**arguments) is None
    (line,) = caplog.messages
    assert line == f"Tracking has failed at Broken.{call} (Breaking: no service): the run goes on without it."


def test_after_a_failure_only_the_end_is_still_called(caplog: pytest.LogCaptureFixture) -> None:
    called = []

    class Fragile(Tracker):
        def log_summary(self, numbers: Any) -> None:
            raise Breaking

        def log_figures(self, figures: list[Path]) -> None:
            called.append("figures")

        def finish(self, *, failed: bool) -> None:
            called.append("finish")
            raise Breaking

    tracker = Fragile()
    tracker.log_summary({})
    tracker.log_figures([])
    tracker.finish(failed=False)
    assert called == ["finish"]
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_through(ending: type[BaseException]) -> None:
    class Interrupted(Tracker):
        def log_figures(self, figures: list[Path]) -> None:
            raise ending

    with pytest.raises(ending):
        Interrupted().log_figures([])


def test_a_tracker_that_cannot_be_made_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Tracker:
        raise Breaking("refused")

    assert type(start_tracker(fail)) is Tracker
    assert caplog.messages == ["Tracking has failed at its start (Breaking: refused): the run goes on without it."]


@pytest.mark.parametrize("logger", [WandbMetrics, MetricsFile])
def test_every_call_of_a_training_logger_is_guarded(logger: type) -> None:
    for name in dir(logger):
        found = inspect.getattr_static(logger, name)
        if name[0] != "_" and isinstance(found, FunctionType | property):
            assert hasattr(getattr(found, "fget", found), "guards"), name


class DeadRun:
    """A W&B run whose service has died."""

    id = name = "dead"

    def define_metric(self, *arguments: Any, **named: Any) -> None:
        """Is taken."""

    def log(self, *arguments: Any) -> None:
        raise BrokenPipeError("service")


def test_a_service_that_dies_in_training_turns_the_tracker_off_too(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    logger = WandbMetrics(DeadRun(), outage)
    for step in range(3):
        logger.log_metrics({"loss": 1.0}, step)
    logger.log_image("samples", [])
    logger.finalize("success")
    assert outage.happened
    assert caplog.messages == [
        "Tracking has failed at WandbMetrics.log_metrics (BrokenPipeError: service): the run goes on without it."
    ]


def identity(folder: Path) -> RunIdentity:
    return RunIdentity(folder=folder, name="n", config={}, group=None, job_type="stat", tags=[])


def test_metrics_that_cannot_be_written_cost_the_file_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    tracker = csv_tracker()(identity(tmp_path / "file/run"))
    logger: Any = tracker.lightning()
    assert logger.experiment is None  # Lightning asks for it at the start of a training
    logger.log_metrics({"loss": 1.0}, 0)
    logger.save()
    tracker.log_summary({"auc": 0.5})
    tracker.finish(failed=False)
    assert len(caplog.messages) == 1


@pytest.mark.slow
def test_a_full_disk_in_training_costs_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_fabric.loggers.csv_logs._ExperimentWriter.save", full)
    tracker = CsvTracker(identity(tmp_path))
    monkeypatch.setattr("secmi_exp.tracking.logger.CsvTracker", lambda run: tracker)
    folder = run_here(tmp_path, "+attack=stat", "logger=csv", "target.max_steps=2", "target.warmup_steps=1")
    assert (folder / "results.json").is_file()
    assert tracker.outage.happened
    assert sum("Tracking has failed" in line for line in caplog.messages) == 1


def test_nothing_is_handed_to_the_tracker_before_the_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    class Watching(Tracker):
        def __init__(self, run: RunIdentity):
            self.folder = run.folder

        def log_summary(self, numbers: Any) -> None:
            written.append(
                {"results.json", "scores.parquet", "roc.png"} <= {path.name for path in self.folder.iterdir()}
            )

    monkeypatch.setattr("secmi_exp.tracking.logger.CsvTracker", Watching)
    run_here(tmp_path, "+attack=stat", "logger=csv", base=MEMORIZING)
    assert written
    assert all(written)
