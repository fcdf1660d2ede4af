"""The interface of trackers, and those that write metrics.csv or nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, Strict, validate_call

from secmi_exp.evaluation.judge import Judgement, Scored
from secmi_exp.evaluation.relative_t_error import RelativeTError
from secmi_exp.store import Json
from secmi_exp.tracking.guarded import Guarded, Outage
from secmi_exp.tracking.wandb_settings import Project, mode_from_environment

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from secmi_exp.tracking.lightning_loggers import MetricsFile


@dataclass(frozen=True)
class FileSet:
    """Files that form one artifact; a tracker makes a new version of it where their content is new."""

    name: str
    kind: str
    """The artifact's type: model, dataset, scores, …"""
    files: Mapping[str, Path]
    """Path within the artifact → the file, which isn't changed any more."""
    facts: Mapping[str, Json] = field(default_factory=dict)


class Tracker(Guarded):
    """Tracks nothing, and is the base of the others. No exception leaves its methods: see `Guarded`."""

    artifacts = False
    """Whether it accepts artifacts."""

    def lightning(self) -> Logger | None:
        """The logger for Lightning trainers, created on the first call; None: they log nothing."""
        return None

    def log_attack(self, judgements: Mapping[str, Judgement], scored: Mapping[str, Scored]) -> None:
        """Log metrics, ROC curves and score histograms of each scorer."""

    def log_t_errors(self, relative: RelativeTError, t_errors: Scored) -> None:
        """Log the relative t-error over timesteps, and the distribution of t-errors at t_sec."""

    def log_summary(self, numbers: Mapping[str, float]) -> None:
        """Log single numbers."""

    def log_table(self, name: str, columns: list[str], rows: list[list[str | float | None]]) -> None:
        """Log a table."""

    def log_figures(self, figures: list[Path]) -> None:
        """Log PNG files."""

    def log_artifacts(self, used: Sequence[FileSet], made: Sequence[FileSet]) -> None:
        """Log files that the run used and files that it produced, where `artifacts`; none of them may change later."""

    def finish(self, *, failed: bool) -> None:
        """Write or upload what is pending; called last, also after a failure."""


@dataclass(frozen=True)
class RunIdentity:
    """Name, group and configuration of a run, as trackers show them."""

    folder: Path
    name: str
    config: dict[str, Any]
    group: str | None
    job_type: str
    tags: list[str]


MakeTracker = Callable[[RunIdentity], Tracker]


def start_tracker(make: Callable[[], Tracker]) -> Tracker:
    """Create a tracker; one that tracks nothing if that fails."""
    try:
        return make()
    except Exception as error:  # a failing tracker must not cost the results
        Outage().report("its start", error)
        return Tracker()


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
        from secmi_exp.tracking.wandb_tracker import WandbTracker  # a broken W&B costs the tracking, not the run

        return WandbTracker(run, project, entity, mode, timeout_s, artifacts)

    return make


class CsvTracker(Tracker):
    """Lightning's CSV logger; the results are its last row."""

    def __init__(self, run: RunIdentity):
        self.folder = run.folder

    @cached_property
    def csv(self) -> MetricsFile:
        """The logger of metrics.csv."""
        from secmi_exp.tracking.lightning_loggers import MetricsFile  # imports torch, which a stored run needs not

        warnings.filterwarnings("ignore", message="Experiment logs directory .* exists")  # it is the run's own
        return MetricsFile(self.folder, self.outage)

    def lightning(self) -> Logger:
        """The logger of metrics.csv."""
        return self.csv

    def log_attack(self, judgements: Mapping[str, Judgement], scored: Mapping[str, Scored]) -> None:
        """Write a row of the metrics."""
        self.log_summary(flat_metrics(judgements))

    def log_summary(self, numbers: Mapping[str, float]) -> None:
        """Write a row."""
        self.csv.log_metrics(dict(numbers))

    def finish(self, *, failed: bool) -> None:
        """Write buffered rows."""
        self.csv.save()


def flat_metrics(judgements: Mapping[str, Judgement]) -> dict[str, float]:
    """Metrics by ``scorer/metric``, without unresolved ones."""
    return {
        f"{name}/{metric}": value
        for name, judged in judgements.items()
        for metric, value in judged.metrics.items()
        if value is not None
    }
