"""The interface of trackers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secmi_exp.evaluation.judge import Judgement
from secmi_exp.evaluation.relative_t_error import RelativeTError
from secmi_exp.evaluation.scored import Scored
from secmi_exp.files.strict_json import Json
from secmi_exp.tracking.guarded import Guarded, Outage


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

    def lightning(self) -> Any:  # whose class would import Lightning
        """The `Logger` for Lightning trainers, created on the first call; None: they log nothing."""
        return None

    def log_attack(self, judgements: Mapping[str, Judgement], scored: Mapping[str, Scored]) -> None:
        """Log metrics, ROC curves and score histograms of each scorer."""

    def log_t_errors(self, relative: RelativeTError, t_errors: Scored) -> None:
        """Log the relative t-error over timesteps, and the distribution of t-errors at t_sec."""

    def log_summary(self, values: Mapping[str, float | str]) -> None:
        """Log single values."""

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


def flat_metrics(judgements: Mapping[str, Judgement]) -> dict[str, float]:
    """Metrics by ``scorer/metric``, without unresolved ones."""
    return {
        f"{name}/{metric}": value
        for name, judged in judgements.items()
        for metric, value in judged.metrics.items()
        if value is not None
    }
