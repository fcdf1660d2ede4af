"""The progress bar of Lightning's trainers."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from secmi_exp.progress import progress_bar


class StepProgressBar(pl.callbacks.ProgressBar):
    """Optimizer steps of a training, or batches of a prediction.

    Lightning's own bars ask the device for the metrics and redraw at every batch; this one shows what `show` was told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shown = True
        self.bar = progress_bar()

    def disable(self) -> None:
        """Ranks but the first show none."""
        self.shown = False

    def enable(self) -> None:
        """Show it again."""
        self.shown = True

    def show(self, metrics: Mapping[str, float]) -> None:
        """Put figures beside the bar, four digits each."""
        line = "  ".join(
            f"{name.rpartition('/')[2].replace('_per_', '/')} {value:.4g}" for name, value in metrics.items()
        )
        for task in self.bar.task_ids:
            self.bar.update(task, metrics=line)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start at the step where the training stands."""
        self._start("Training", trainer.max_steps, trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Follow the optimizer."""
        self._advance(trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it is."""
        self._stop()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start at nothing."""
        self._start("Predicting", sum(trainer.num_predict_batches), 0)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """One batch more."""
        self._advance(batch_idx + 1)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it is."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Free the terminal for what is told of it."""
        self._stop()

    def _start(self, what: str, total: float, done: int) -> None:
        if self.shown:
            self.bar.add_task(what, total=total, completed=done, metrics="")
            self.bar.start()

    def _stop(self) -> None:
        if self.bar.task_ids:  # one that was never started would print an empty line
            self.bar.stop()

    def _advance(self, done: int) -> None:
        for task in self.bar.task_ids:
            self.bar.update(task, completed=done)
