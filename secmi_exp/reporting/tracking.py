"""Where metrics go while a run lasts: Weights & Biases, a CSV file, or nowhere."""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, Strict, validate_call

from secmi_exp.evaluation.judge import Judgement, Scored
from secmi_exp.evaluation.relative_t_error import RelativeTError
from secmi_exp.reporting.artifacts import FileSet
from secmi_exp.reporting.guarded import Guarded, Outage
from secmi_exp.reporting.wandb_settings import Project, mode_of_environment, resolved_mode
from secmi_exp.shown_text import unicode_name

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from secmi_exp.reporting.trained_metrics import TrainedMetrics, TrainedRows

log = logging.getLogger(__name__)

STAGING = "WANDB_DATA_DIR"
"""Environment variable: where W&B keeps what waits for its upload."""


class Tracker(Guarded):
    """Tracks nothing, and is what the others extend; whatever fails in it, no call of its methods ends a run."""

    artifacts = False
    """Whether it takes artifacts."""

    def lightning(self) -> Logger | None:
        """What Lightning trainers log to; made when something is trained."""
        return None

    def log_attack(self, judgements: Mapping[str, Judgement], scored: Mapping[str, Scored]) -> None:
        """Metrics, ROC curves and score histograms of each scorer."""

    def log_t_errors(self, relative: RelativeTError, t_errors: Scored) -> None:
        """Relative t-error over timesteps, and the distribution of t-errors at t_sec."""

    def log_summary(self, numbers: Mapping[str, float]) -> None:
        """Single numbers."""

    def log_table(self, name: str, columns: list[str], rows: list[list[str | float | None]]) -> None:
        """A table of numbers and words."""

    def log_figures(self, figures: list[Path]) -> None:
        """Pictures."""

    def log_artifacts(self, used: Sequence[FileSet], made: Sequence[FileSet]) -> None:
        """Files that the run rests on, and files that it leaves, where `artifacts`; none of them changes any more."""

    def finish(self, *, failed: bool) -> None:
        """Hand over what is still pending."""


@dataclass(frozen=True)
class RunIdentity:
    """What a tracker needs to know of the run."""

    folder: Path
    name: str
    config: dict[str, Any]
    group: str | None
    job_type: str
    tags: list[str]


MakeTracker = Callable[[RunIdentity], Tracker]


def start_tracker(make: Callable[[], Tracker]) -> Tracker:
    """Make a tracker, or one that tracks nothing where that fails."""
    try:
        return make()
    except Exception as error:  # whatever happens to a tracker, it may not cost the results
        Outage().tell("its start", error)
        return Tracker()


def no_tracker() -> MakeTracker:
    """Track nothing."""
    return lambda run: Tracker()


def csv_tracker() -> MakeTracker:
    """Track to metrics.csv in the run's folder."""
    return CsvTracker


class CsvTracker(Tracker):
    """Lightning's CSV logger, with the results as its last row."""

    def __init__(self, run: RunIdentity):
        self.folder = run.folder

    @cached_property
    def csv(self) -> TrainedRows:
        """The logger."""
        from secmi_exp.reporting.trained_metrics import TrainedRows

        warnings.filterwarnings("ignore", message="Experiment logs directory .* exists")  # it is the run's own
        return TrainedRows(self.folder, self.outage)

    def lightning(self) -> Logger:
        """The same."""
        return self.csv

    def log_attack(self, judgements: Mapping[str, Judgement], scored: Mapping[str, Scored]) -> None:
        """The metrics alone."""
        self.log_summary(flat_metrics(judgements))

    def log_summary(self, numbers: Mapping[str, float]) -> None:
        """A row."""
        self.csv.log_metrics(dict(numbers))

    def finish(self, *, failed: bool) -> None:
        """Write what is buffered."""
        self.csv.save()


def flat_metrics(judgements: Mapping[str, Judgement]) -> dict[str, float]:
    """Scorer/metric → value, unresolved ones left out."""
    return {
        f"{name}/{metric}": value
        for name, judged in judgements.items()
        for metric, value in judged.metrics.items()
        if value is not None
    }


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
        mode: auto is online where credentials exist and offline elsewhere.
        timeout_s: how long the server may take, at the start and at the end each.
        artifacts: whether target, split and scores go there as artifacts.

    Raises:
        UserError: where the mode is left to WANDB_MODE, and that is none.
    """
    if mode == "auto":
        mode_of_environment()
    return lambda run: WandbTracker(run, project, entity, mode, timeout_s, artifacts)


class WandbTracker(Tracker):
    """One W&B run for the whole of ours; when the server can't be reached it goes on offline."""

    def __init__(
        self, run: RunIdentity, project: str, entity: str | None, mode: str, timeout_s: float, artifacts: bool
    ):
        self.timeout_s, self.folder = timeout_s, run.folder
        self.mode = resolved_mode(mode)
        self.artifacts = artifacts and self.mode != "disabled"
        arguments: dict[str, Any] = {
            "project": project, "entity": entity, "dir": run.folder, "name": run.name, "group": run.group,
            "job_type": run.job_type, "tags": run.tags, "config": run.config,
        }  # fmt: skip
        with unicode_arguments():
            self.run = self._start(arguments)
        self.stages_here = STAGING not in os.environ
        if self.stages_here:  # by default tables would wait for their upload in the user's home
            os.environ[STAGING] = str(run.folder / "wandb")

    def lightning(self) -> Logger:
        """Lightning's logger to the same W&B run."""
        return self.trained_metrics

    @cached_property
    def trained_metrics(self) -> TrainedMetrics:
        """The logger, which knows what has got its axis."""
        from secmi_exp.reporting.trained_metrics import TrainedMetrics

        return TrainedMetrics(self.run, self.outage)

    def _start(self, arguments: dict[str, Any]) -> Any:
        import wandb

        settings = wandb.Settings(init_timeout=self.timeout_s, silent=True, console="off")
        try:
            return wandb.init(**arguments, mode=self.mode, settings=settings)
        except Exception as error:  # W&B raises several kinds, by what failed first
            log.warning("Weights & Biases can't be reached (%s): going on offline.", error)
            self.mode = "offline"
            try:
                return wandb.init(**arguments, mode="offline", settings=settings)
            except Exception:
                self._abandon_service()
                raise

    def log_attack(self, judgements: Mapping[str, Judgement], scored: Mapping[str, Scored]) -> None:
        """Summary metrics with intervals, a table, ROC curves and score histograms.

        What the attack's own scorer gave stands below ``attack`` too, which is the same name for all attacks.
        """
        import wandb

        charted = {"attack": next(iter(judgements.values())), **judgements}
        self.run.summary.update(flat_metrics(charted))
        table = wandb.Table(columns=["scorer", "metric", "value", "low", "high"])
        for name, judged in judgements.items():
            for metric, value in judged.metrics.items():
                table.add_data(name, metric, value, *(judged.ci95[metric] or (None, None)))
            values, sides = scored[name].scores, scored[name].is_member
            self.run.log(
                {
                    f"{name}/scores_members": wandb.Histogram(values[sides]),
                    f"{name}/scores_holdouts": wandb.Histogram(values[~sides]),
                }
            )
        self.run.log({"metrics": table})
        self.run.log({f"{name}/roc": _roc_chart(name, judged) for name, judged in charted.items()})

    def log_t_errors(self, relative: RelativeTError, t_errors: Scored) -> None:
        """Relative t-error with t_sec as its axis; a histogram of each side."""
        import wandb

        for name, side in (("members", t_errors.is_member), ("holdouts", ~t_errors.is_member)):
            self.run.log({f"t_errors/{name}": wandb.Histogram(t_errors.scores[side])})
        self.run.define_metric("t_sec", hidden=True, summary="none")
        self.run.define_metric("relative_t_error", step_metric="t_sec", summary="max")
        for t, ratio in zip(relative.timesteps, relative.ratio, strict=True):
            if math.isfinite(ratio):
                self.run.log({"t_sec": t, "relative_t_error": ratio})

    def log_summary(self, numbers: Mapping[str, float]) -> None:
        """The run's summary."""
        self.run.summary.update(dict(numbers))

    def log_table(self, name: str, columns: list[str], rows: list[list[str | float | None]]) -> None:
        """A W&B table."""
        import wandb

        self.run.log({name: wandb.Table(columns=columns, data=rows)})

    def log_figures(self, figures: list[Path]) -> None:
        """The PNG files as media."""
        import wandb

        self.run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})

    def log_artifacts(self, used: Sequence[FileSet], made: Sequence[FileSet]) -> None:
        """Versions of artifacts by their content, as inputs and outputs of the run."""
        inputs, outputs = ([_artifact(files) for files in sets] for sets in (used, made))
        if not self._in_time(lambda: self._log_artifacts(inputs, outputs)):
            log.warning("Weights & Biases has not taken the artifacts within %g s.", self.timeout_s)

    def _log_artifacts(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        for artifact in inputs:
            # W&B's use_artifact begins in the same way, but refuses offline and waits for the upload online.
            self.run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
        for artifact in outputs:
            self.run.log_artifact(artifact)

    def finish(self, *, failed: bool) -> None:
        """Wait for the upload as long as the timeout allows; the rest stays in the run's folder for `wandb sync`."""
        if self.stages_here:
            os.environ.pop(STAGING, None)
        try:
            taken = self._in_time(lambda: self._finish(failed))
        except Exception:
            self._abandon_service()
            raise
        if not taken:
            log.warning(
                "Weights & Biases has not taken everything within %g s: `wandb sync %s` uploads the rest.",
                self.timeout_s, self.folder / "wandb",
            )  # fmt: skip

    def _finish(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))

    def _abandon_service(self) -> None:
        """Let go of W&B's service, which would fail again when the program ends; a sweep's next job gets a new one."""
        import wandb

        with suppress(Exception):  # the service is gone
            self._in_time(wandb.teardown)

    def _in_time(self, step: Callable[[], None]) -> bool:
        """Whether a step that may wait for the server has ended within the timeout; raises what it has raised."""
        failures = []

        def attempt() -> None:
            try:
                step()
            except Exception as error:
                failures.append(error)

        waiting = threading.Thread(target=attempt, daemon=True)
        waiting.start()
        waiting.join(None if self.mode in ("offline", "disabled") else self.timeout_s)
        if failures:
            raise failures[0]
        return not waiting.is_alive()


@contextmanager
def unicode_arguments() -> Iterator[None]:
    """A command line as W&B can take it, which sends it away: names of files in it may hold any bytes."""
    given = sys.argv
    sys.argv = [unicode_name(argument) for argument in given]
    try:
        yield
    finally:
        sys.argv = given


def _roc_chart(name: str, judged: Judgement) -> Any:
    import wandb

    assert judged.roc is not None
    keep = np.unique(np.linspace(0, len(judged.roc.fpr) - 1, 1000).astype(int))  # W&B draws 1,000 points
    points = np.stack([judged.roc.fpr[keep], judged.roc.tpr[keep]], axis=1).tolist()
    return wandb.plot.line(wandb.Table(data=points, columns=["fpr", "tpr"]), "fpr", "tpr", title=f"ROC of {name}")


def _artifact(files: FileSet) -> Any:
    import wandb

    artifact = wandb.Artifact(files.name, files.kind, metadata=dict(files.facts))
    for name, path in files.files.items():
        artifact.add_file(str(path), name, skip_cache=True, policy="immutable")  # no copies of gigabytes of weights
    return artifact
