"""The tracker that logs a run to Weights & Biases."""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from secmi_exp.deferred import Deferred
from secmi_exp.evaluation.judge import Judgement
from secmi_exp.evaluation.relative_t_error import RelativeTError
from secmi_exp.evaluation.scored import Scored
from secmi_exp.formatting import unicode_name
from secmi_exp.tracking.tracker import FileSet, RunIdentity, Tracker, flat_metrics
from secmi_exp.tracking.wandb_settings import resolve_mode

WandbMetrics = Deferred("secmi_exp.tracking.lightning_loggers:WandbMetrics")

log = logging.getLogger(__name__)

STAGING = "WANDB_DATA_DIR"
"""Environment variable: the folder where W&B keeps files until they are uploaded."""


class WandbTracker(Tracker):
    """Logs to one W&B run; goes on offline if the server can't be reached."""

    def __init__(
        self, run: RunIdentity, project: str, entity: str | None, mode: str, timeout_s: float, artifacts: bool
    ):
        self.timeout_s, self.folder = timeout_s, run.folder
        self.mode = resolve_mode(mode)
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

    def lightning(self) -> Any:
        """The `WandbMetrics` of the same W&B run."""
        return self.trained_metrics

    @cached_property
    def trained_metrics(self) -> Any:
        """The `WandbMetrics`: one for the whole run, since it records which metrics have an axis."""
        return WandbMetrics(self.run, self.outage)

    def _start(self, arguments: dict[str, Any]) -> Any:
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
        """Log summary metrics, a table with intervals, ROC curves and score histograms.

        The metrics of the attack's own scorer are logged below ``attack`` too, a name that all attacks share.
        """
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
        """Log the relative t-error with t_sec as its axis, and a histogram of each side."""
        for name, side in (("members", t_errors.is_member), ("holdouts", ~t_errors.is_member)):
            self.run.log({f"t_errors/{name}": wandb.Histogram(t_errors.scores[side])})
        self.run.define_metric("t_sec", hidden=True, summary="none")
        self.run.define_metric("relative_t_error", step_metric="t_sec", summary="max")
        for t, ratio in zip(relative.timesteps, relative.ratio, strict=True):
            if math.isfinite(ratio):
                self.run.log({"t_sec": t, "relative_t_error": ratio})

    def log_summary(self, values: Mapping[str, float | str]) -> None:
        """Update the run's summary."""
        self.run.summary.update(dict(values))

    def log_table(self, name: str, columns: list[str], rows: list[list[str | float | None]]) -> None:
        """Log a W&B table."""
        self.run.log({name: wandb.Table(columns=columns, data=rows)})

    def log_figures(self, figures: list[Path]) -> None:
        """Log PNG files as media."""
        self.run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})

    def log_artifacts(self, used: Sequence[FileSet], made: Sequence[FileSet]) -> None:
        """Log artifacts, versioned by their content, as inputs and outputs of the run."""
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
        """Wait for the upload until the timeout; what is left stays in the run's folder for `wandb sync`."""
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
        """Stop W&B's service, which would fail again when the program ends; a later run starts a new one."""
        with suppress(Exception):  # the service is gone
            self._in_time(wandb.teardown)

    def _in_time(self, step: Callable[[], None]) -> bool:
        """Run a step that may wait for the server and raise what it raises; False if it exceeds the timeout."""
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
    assert judged.roc is not None
    keep = np.unique(np.linspace(0, len(judged.roc.fpr) - 1, 1000).astype(int))  # W&B draws 1,000 points
    points = np.stack([judged.roc.fpr[keep], judged.roc.tpr[keep]], axis=1).tolist()
    return wandb.plot.line(wandb.Table(data=points, columns=["fpr", "tpr"]), "fpr", "tpr", title=f"ROC of {name}")


def _artifact(files: FileSet) -> Any:
    artifact = wandb.Artifact(files.name, files.kind, metadata=dict(files.facts))
    for name, path in files.files.items():
        artifact.add_file(str(path), name, skip_cache=True, policy="immutable")  # no copies of gigabytes of weights
    return artifact
