"""Where metrics go while a run lasts: Weights & Biases, a CSV file, or nowhere."""

from __future__ import annotations

import inspect
import logging
import os
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import PositiveFloat, validate_call

from secmi_exp.evaluation.judge import Judgement, Scored
from secmi_exp.evaluation.relative_t_error import RelativeTError

if TYPE_CHECKING:
    from pytorch_lightning.loggers import CSVLogger, Logger

log = logging.getLogger(__name__)


class Tracker:
    """Tracks nothing, and is what the others extend."""

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
    def csv(self) -> CSVLogger:
        """The logger."""
        from pytorch_lightning.loggers import CSVLogger

        warnings.filterwarnings("ignore", message="Experiment logs directory .* exists")  # it is the run's own
        return CSVLogger(self.folder, name="", version="")

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
    project: str, entity: str | None, mode: Literal["auto", "online", "offline", "disabled"], timeout_s: PositiveFloat
) -> MakeTracker:
    """Track to Weights & Biases.

    Args:
        project: W&B project.
        entity: W&B team or user; None: the default one.
        mode: auto is online where credentials exist and offline elsewhere.
        timeout_s: how long the server may take, at the start and at the end each.
    """
    return lambda run: WandbTracker(run, project, entity, mode, timeout_s)


def _resolved_mode(mode: str) -> Any:
    import wandb

    if mode != "auto":
        return mode
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    if "prompt" in inspect.signature(wandb.login).parameters:
        known = wandb.login(prompt=False, verify=False)
    else:  # older versions of W&B
        known = bool(wandb.api.api_key)
    return "online" if known else "offline"


class WandbTracker(Tracker):
    """One W&B run for the whole of ours; when the server can't be reached it goes on offline."""

    def __init__(self, run: RunIdentity, project: str, entity: str | None, mode: str, timeout_s: float):
        self.timeout_s, self.folder = timeout_s, run.folder
        self.mode = _resolved_mode(mode)
        arguments: dict[str, Any] = {
            "project": project, "entity": entity, "dir": run.folder, "name": run.name, "group": run.group,
            "job_type": run.job_type, "tags": run.tags, "config": run.config,
        }  # fmt: skip
        self.run = self._start(arguments)

    def lightning(self) -> Logger:
        """Lightning's logger to the same W&B run."""
        from pytorch_lightning.loggers import WandbLogger

        return WandbLogger(experiment=self.run)

    def _start(self, arguments: dict[str, Any]) -> Any:
        import wandb

        settings = wandb.Settings(init_timeout=self.timeout_s, silent=True, console="off")
        try:
            return wandb.init(**arguments, mode=self.mode, settings=settings)
        except Exception as error:  # W&B raises several kinds, by what failed first
            log.warning("Weights & Biases can't be reached (%s): going on offline.", error)
            self.mode = "offline"
            return wandb.init(**arguments, mode="offline", settings=settings)

    def log_attack(self, judgements: Mapping[str, Judgement], scored: Mapping[str, Scored]) -> None:
        """Summary metrics with intervals, a table, ROC curves and score histograms."""
        import wandb

        self.run.summary.update(flat_metrics(judgements))
        table = wandb.Table(columns=["scorer", "metric", "value", "low", "high"])
        for name, judged in judgements.items():
            for metric, value in judged.metrics.items():
                table.add_data(name, metric, value, *(judged.ci95[metric] or (None, None)))
            assert judged.roc is not None
            keep = np.unique(np.linspace(0, len(judged.roc.fpr) - 1, 1000).astype(int))  # W&B draws 1,000 points
            curve = wandb.Table(
                data=np.stack([judged.roc.fpr[keep], judged.roc.tpr[keep]], axis=1).tolist(),
                columns=["fpr", "tpr"],
            )
            values, sides = scored[name].scores, scored[name].is_member
            self.run.log(
                {
                    f"{name}/roc": wandb.plot.line(curve, "fpr", "tpr", title=f"ROC of {name}"),
                    f"{name}/scores_members": wandb.Histogram(values[sides]),
                    f"{name}/scores_holdouts": wandb.Histogram(values[~sides]),
                }
            )
        self.run.log({"metrics": table})

    def log_t_errors(self, relative: RelativeTError, t_errors: Scored) -> None:
        """Relative t-error with t_sec as its axis; a histogram of each side."""
        import wandb

        for name, side in (("members", t_errors.is_member), ("holdouts", ~t_errors.is_member)):
            self.run.log({f"t_errors/{name}": wandb.Histogram(t_errors.scores[side])})
        self.run.define_metric("relative_t_error", step_metric="t_sec")
        for t, ratio in zip(relative.timesteps, relative.ratio, strict=True):
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

    def finish(self, *, failed: bool) -> None:
        """Wait for the upload as long as the timeout allows; the rest stays in the run's folder for `wandb sync`."""
        waiting = threading.Thread(target=self._finish, args=(failed,), daemon=True)
        waiting.start()
        waiting.join(self.timeout_s if self.mode == "online" else None)
        if waiting.is_alive():
            log.warning(
                "Weights & Biases has not taken everything within %g s: `wandb sync %s` uploads the rest.",
                self.timeout_s, self.folder / "wandb",
            )  # fmt: skip

    def _finish(self, failed: bool) -> None:
        with suppress(Exception):  # nothing that happens to the dashboard may cost the results
            self.run.finish(exit_code=int(failed))
