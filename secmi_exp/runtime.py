"""The machine a run has: how Lightning trainers are made for it."""

import logging
import warnings
from collections.abc import Sequence
from typing import Literal

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import Logger

from secmi_exp.errors import UserError

# What Lightning says of devices and hooks at every trainer is noise beside a run's own log; warnings stay.
logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
logging.getLogger("pytorch_lightning.accelerators.cuda").setLevel(logging.WARNING)

warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")  # a resumed run means to continue there
warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")  # Lightning 2.6 on torch ≥ 2.12


class StepProgressBar(RichProgressBar):
    """Counts steps rather than epochs, on standard error, and shows the metrics without their prefixes."""

    def __init__(self) -> None:
        super().__init__(leave=True, console_kwargs={"stderr": True})

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training"

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, str]:  # type: ignore[override]
        """Metrics as shown: four digits each, ``images_per_s`` as images/s."""
        metrics = super().get_metrics(trainer, pl_module)
        return {
            name.rpartition("/")[2].replace("_per_", "/"): f"{value:.4g}"
            for name, value in metrics.items()
            if isinstance(value, int | float) and name != "v_num"
        }


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Runtime:
    """One process on one device."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]
    query_batch_size: PositiveInt
    """Images a batch when the target is queried."""
    progress_bar: bool

    def trainer(
        self,
        *,
        logger: Logger | None = None,
        callbacks: Sequence[pl.Callback] = (),
        max_steps: int = -1,
        gradient_clip: float | None = None,
        val_check_interval: int | None = None,
        log_every: int = 50,
    ) -> pl.Trainer:
        """A trainer with the progress bar on standard error and nothing written that its callbacks don't write.

        Args:
            logger: where metrics go; None: nowhere.
            callbacks: besides the progress bar.
            max_steps: optimizer steps; −1: no limit.
            gradient_clip: L2 norm that gradients are clipped to; None: unclipped.
            val_check_interval: optimizer steps between validations; None: none.
            log_every: steps between logged metrics.

        Raises:
            UserError: where the accelerator isn't there.
        """
        bar = [StepProgressBar()] if self.progress_bar else []
        try:
            return pl.Trainer(
                accelerator=self.accelerator,
                devices=1,
                precision=self.precision,
                logger=logger or False,
                callbacks=[*callbacks, *bar],
                max_epochs=-1,
                max_steps=max_steps,
                gradient_clip_val=gradient_clip,
                val_check_interval=val_check_interval,
                check_val_every_n_epoch=None if val_check_interval else 1,
                num_sanity_val_steps=0,
                log_every_n_steps=log_every,
                enable_checkpointing=any(isinstance(each, pl.callbacks.ModelCheckpoint) for each in callbacks),
                enable_progress_bar=self.progress_bar,
                enable_model_summary=False,
            )
        except MisconfigurationException as error:
            raise UserError(
                f"trainer.accelerator={self.accelerator} can't be used here ({error}): choose cpu or auto."
            ) from error
