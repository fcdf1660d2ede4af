"""The progress of Lightning's trainers."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from secmi_exp.progress import WorkProgress


class StepProgressBar(pl.callbacks.ProgressBar):
    """Optimizer steps of a training, or batches of a prediction.

    Lightning's own bars ask the device for the metrics and redraw at every batch; this one shows what `show` was given.

    Args:
        what: name of the work, such as ``Training target``.
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.shown = what, True
        self.progress: WorkProgress | None = None

    def disable(self) -> None:
        """Show nothing; Lightning calls it on all ranks but the first."""
        self.shown = False

    def enable(self) -> None:
        """Show it again."""
        self.shown = True

    def show(self, metrics: Mapping[str, float]) -> None:
        """Put figures beside the bar, four digits each."""
        line = "  ".join(
            f"{name.rpartition('/')[2].replace('_per_', '/')} {value:.4g}" for name, value in metrics.items()
        )
        if self.progress:
            self.progress.show(line)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start at the step where the training stands."""
        self._start(trainer.max_steps, "steps", trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance to the optimizer's step."""
        if self.progress:
            images = len(batch[0]) * trainer.world_size
            self.progress.advance(trainer.global_step, images, lambda: outputs["loss"].item())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it is."""
        self._stop()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start at the first batch."""
        self._start(sum(trainer.num_predict_batches), "batches", 0)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Advance by one batch."""
        if self.progress:
            self.progress.advance(batch_idx + 1, len(batch[0]) * trainer.world_size)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it is."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stop the bar before the error is printed."""
        self._stop()

    def _start(self, total: float, unit: str, done: int) -> None:
        self.progress = WorkProgress(self.what, total, unit, done, shown=self.shown)

    def _stop(self) -> None:
        if self.progress:
            self.progress.stop()
            self.progress = None
