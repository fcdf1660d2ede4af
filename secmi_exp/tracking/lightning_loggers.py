"""Loggers for Lightning trainers: to a Weights & Biases run, with the trainer's step as the axis, or to metrics.csv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from secmi_exp.tracking.guarded import Guarded, Outage

STEP = "trainer/global_step"
"""Lightning's name for the trainer's step, logged beside each metric."""


class WandbMetrics(Guarded, WandbLogger):
    """Logs to a W&B run that exists already, for which Lightning itself defines no axes.

    Several trainers may log to the run one after the other, each from step 0, under different metric names.

    Args:
        run: W&B's run.
        outage: shared with the tracker.
    """

    def __init__(self, run: Any, outage: Outage):
        super().__init__(experiment=run)
        self.outage = outage
        self.defined: set[str] = set()
        for name in (STEP, "epoch"):  # Lightning logs the epoch too, and all of a training is one
            run.define_metric(name, hidden=True, summary="none")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics, and define the axis of new ones; the summary of a rate is its mean."""
        for name in sorted(metrics.keys() - self.defined - {STEP, "epoch"}):
            summary = "mean" if name.endswith("_per_s") else None
            self.experiment.define_metric(name, step_metric=STEP, summary=summary)
            self.defined.add(name)
        super().log_metrics(metrics, step)


class MetricsFile(Guarded, CSVLogger):
    """Logs to metrics.csv.

    Args:
        folder: where the file is written.
        outage: shared with the tracker.
    """

    def __init__(self, folder: Path, outage: Outage):
        super().__init__(folder, name="", version="")
        self.outage = outage
