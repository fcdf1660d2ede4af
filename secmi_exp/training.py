"""Training that loses at most one checkpoint interval when it is killed, and then repeats the undisturbed run.

All randomness of step i (batch, noise, timesteps, dropout, flips) is a function of (seed, i). A resumed run hence takes
the very steps that it would have taken: on one machine's CPU bit for bit, on CUDA up to the order of atomic additions.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from torch import Tensor

from secmi_exp.data.batches import TrainingBatches
from secmi_exp.errors import UserError
from secmi_exp.runtime import Runtime
from secmi_exp.store import SCRATCH

log = logging.getLogger(__name__)


def seed_step(seed: int, step: int) -> None:
    """Make what torch's generators draw next a function of (seed, step)."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1)))


class Divergence(pl.Callback):
    """Stops where the loss or the weights are not finite, before a checkpoint of them can be written.

    A NaN stays once it is in the weights, so looking at the loss in the steps that log, and at the weights too in those
    that save, is enough; no step waits for the device in between.

    Args:
        log_every: steps between looks at the loss.
        checkpoint_every: steps between looks at the weights.
        kept: folder of the checkpoints.
    """

    def __init__(self, log_every: int, checkpoint_every: int, kept: Path):
        self.log_every, self.checkpoint_every, self.kept = log_every, checkpoint_every, kept

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look, where this step is one of those."""
        step = trainer.global_step
        saves = step % self.checkpoint_every == 0 or step == trainer.max_steps
        if not saves and step % self.log_every:
            return
        watched: list[Tensor] = [outputs["loss"], *(pl_module.parameters() if saves else ())]
        if not torch.isfinite(torch.nn.utils.get_total_norm(watched)):
            kept = sorted(self.kept.glob("*.ckpt"))
            raise UserError(
                f"The training diverged by step {step} of {trainer.max_steps}, loss {outputs['loss'].item():.3g}: "
                f"lower the learning rate (last checkpoint before it: {kept[-1] if kept else 'none yet'})."
            )


class Throughput(pl.Callback):
    """Logs images/s over the last logging interval."""

    def __init__(self, name: str, every: int):
        self.name, self.every = name, every
        self.images, self.since = 0, time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.images, self.since = 0, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch, and log at the interval's end."""
        self.images += len(batch[0])
        if trainer.global_step % self.every == 0:
            rate = self.images / (time.monotonic() - self.since)
            pl_module.log(f"{self.name}/images_per_s", rate, prog_bar=True)
            self.images, self.since = 0, time.monotonic()


def newest_checkpoint(folder: Path, below_step: int) -> Path | None:
    """The newest checkpoint that can be read, of a step below the given one.

    One of the last step is left alone: a trainer that has nothing left to do skips what comes at the end of training.
    """
    for path in sorted(folder.glob("step=*.ckpt"), reverse=True):
        try:
            step = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"]
        except Exception as error:  # torch names no single exception for a broken file
            log.warning("Left out the unreadable checkpoint %s (%s).", path.name, error)
            continue
        if step < below_step:
            return path
    return None


def fit(
    module: pl.LightningModule,
    batches: TrainingBatches,
    *,
    name: str,
    workspace: Path,
    runtime: Runtime,
    logger: Logger | None,
    max_steps: int,
    checkpoint_every: int,
    log_every: int = 50,
    gradient_clip: float | None = None,
    callbacks: Sequence[pl.Callback] = (),
    validate_every: int | None = None,
) -> None:
    """Train to max_steps, from the newest checkpoint in the workspace where there is one.

    Args:
        module: takes batches of ``batches`` and returns a loss.
        batches: shuffled batches that start at the trainer's step.
        name: prefix of the metrics logged.
        workspace: of the store; the newest two checkpoints lie in its scratch folder.
        runtime: makes the trainer.
        logger: where metrics go.
        max_steps: optimizer steps in all.
        checkpoint_every: steps between checkpoints.
        log_every: steps between logged metrics.
        gradient_clip: L2 norm; None: unclipped.
        callbacks: in addition to this function's own.
        validate_every: steps between validations, where ``batches`` has a validation loader.

    Raises:
        UserError: where the loss or the weights are not finite; the checkpoints before that stay.
    """
    folder = workspace / SCRATCH / "checkpoints"
    log_every = min(log_every, max_steps)
    checkpoint = newest_checkpoint(folder, below_step=max_steps)
    if checkpoint is not None:
        log.info("Continuing %s from %s.", name, checkpoint.stem)
    saving = ModelCheckpoint(
        folder,
        filename="{step:09d}",
        every_n_train_steps=checkpoint_every,
        monitor="step",
        mode="max",
        save_top_k=2,
        enable_version_counter=False,
    )
    trainer = runtime.trainer(
        logger=logger,
        callbacks=[
            *callbacks,
            Throughput(name, log_every),
            Divergence(log_every, checkpoint_every, folder),
            saving,
        ],
        max_steps=max_steps,
        gradient_clip=gradient_clip,
        val_check_interval=validate_every,
        log_every=log_every,
    )
    trainer.fit(module, datamodule=batches, ckpt_path=checkpoint, weights_only=True)
