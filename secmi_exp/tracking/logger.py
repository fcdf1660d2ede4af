"""What the files in ``conf/logger`` name: functions that give a run's tracker."""

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, validate_call

from secmi_exp.deferred import Deferred
from secmi_exp.evaluation.judge import Judgement
from secmi_exp.evaluation.scored import Scored
from secmi_exp.tracking.tracker import MakeTracker, RunIdentity, Tracker, flat_metrics
from secmi_exp.tracking.wandb_settings import Project, mode_from_environment

MetricsFile = Deferred("secmi_exp.tracking.lightning_loggers:MetricsFile")
WandbTracker = Deferred("secmi_exp.tracking.wandb_tracker:WandbTracker")


def no_tracker() -> MakeTracker:
    """Track nothing."""
    return lambda run: Tracker()


def csv_tracker() -> MakeTracker:
    """Track to metrics.csv in the run's folder."""
    return CsvTracker


@validate_call
def wandb_tracker(
    project: Project,
    entity: str | None,
    mode: Literal["auto", "online", "offline", "disabled"],
    timeout_s: Annotated[float, Strict(), Field(gt=0, le=1e6)],
    artifacts: bool,
) -> MakeTracker:
    """Track to Weights & Biases.

    Args:
        project: W&B project.
        entity: W&B team or user; None: the default one.
        mode: auto is online if credentials exist, else offline.
        timeout_s: seconds to wait for the server, at the start and at the end each.
        artifacts: whether to log target, split and scores as artifacts.

    Raises:
        UserError: if ``mode`` is auto and WANDB_MODE has a value that W&B doesn't know.
    """
    if mode == "auto":
        mode_from_environment()

    def make(run: RunIdentity) -> Tracker:
        tracker: Tracker = WandbTracker(run, project, entity, mode, timeout_s, artifacts)
        return tracker

    return make


class CsvTracker(Tracker):
    """Lightning's CSV logger; the results are its last row."""

    def __init__(self, run: RunIdentity):
        self.folder = run.folder

    @cached_property
    def csv(self) -> Any:
        """The `MetricsFile`."""
        warnings.filterwarnings("ignore", message="Experiment logs directory .* exists")  # it is the run's own
        return MetricsFile(self.folder, self.outage)

    def lightning(self) -> Any:
        """The `MetricsFile`."""
        return self.csv

    def log_attack(self, judgements: Mapping[str, Judgement], scored: Mapping[str, Scored]) -> None:
        """Write a row of the metrics."""
        self.log_summary(flat_metrics(judgements))

    def log_summary(self, values: Mapping[str, float | str]) -> None:
        """Write a row."""
        self.csv.log_metrics(dict(values))

    def finish(self, *, failed: bool) -> None:
        """Write buffered rows."""
        self.csv.save()
