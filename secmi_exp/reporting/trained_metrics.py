"""What Lightning trainers log to: a Weights & Biases run, with their steps as its axis, or rows of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from secmi_exp.reporting.guarded import Guarded, Outage

STEP = "trainer/global_step"
"""Lightning's name for the trainer's step, logged beside each metric."""


class TrainedMetrics(Guarded, WandbLogger):
    """Lightning's logger to a run that there is already, for which Lightning itself defines no axes.

    Several trainers may log to the run one after the other, each from step 0; their metrics have names of their own.

    Args:
        run: of W&B.
        outage: of the tracker whose run it is.
    """

    def __init__(self, run: Any, outage: Outage):
        super().__init__(experiment=run)
        self.outage = outage
        self.defined: set[str] = set()
        for name in (STEP, "epoch"):  # Lightning logs the epoch too, and all of a training is one
            run.define_metric(name, hidden=True, summary="none")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log them, and before the first time define their axis; of rates the summary has the mean."""
        for name in sorted(metrics.keys() - self.defined - {STEP, "epoch"}):
            summary = "mean" if name.endswith("_per_s") else None
            self.experiment.define_metric(name, step_metric=STEP, summary=summary)
            self.defined.add(name)
        super().log_metrics(metrics, step)


class TrainedRows(Guarded, CSVLogger):
    """Lightning's logger to metrics.csv.

    Args:
        folder: that gets it.
        outage: of the tracker that it belongs to.
    """

    def __init__(self, folder: Path, outage: Outage):
        super().__init__(folder, name="", version="")
        self.outage = outage
