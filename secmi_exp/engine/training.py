"""Training that loses at most one checkpoint interval when it is killed, and then repeats the undisturbed run.

All randomness of step i (batch, noise, timesteps, dropout, flips) is a function of (seed, i). A resumed run hence takes
the very steps that it would have taken: on one machine's CPU bit for bit, on CUDA up to the order of atomic additions.
"""

import logging
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from secmi_exp.engine.batches import TrainingBatches
from secmi_exp.engine.collectives import broadcast, is_rank_0, rank_info
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.step_progress import StepProgressBar
from secmi_exp.engine.trainers import accumulated_parts, make_trainer
from secmi_exp.errors import UserError, first_line
from secmi_exp.store import SCRATCH

log = logging.getLogger(__name__)


def step_seed(seed: int, *step: int) -> int:
    """What a generator is seeded with for a step, or a part of it; 63 bits."""
    return int(np.random.SeedSequence([seed, *step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_step(device: torch.device, seed: int, *step: int) -> None:
    """Make what is drawn next, on the host and on the device, a function of the seed and the step, or a part of it.

    `torch.manual_seed` would do, but it keeps a traceback of each call for the devices that are not in use.
    """
    mixed = step_seed(seed, *step)
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(mixed)
    elif device.type != "cpu":
        torch.manual_seed(mixed)


class Watch(pl.Callback):
    """Logs loss, images/s and a schedule's learning rate; stops before a loss or weights that aren't finite are saved.

    A NaN stays once it is in the weights, so looking at the loss in the steps that log, and at the weights too in those
    that save, is enough; no step waits for the device in between.

    Args:
        name: prefix of the metrics.
        log_every: steps between looks at the loss.
        checkpoint_every: steps between looks at the weights.
        kept: folder of the checkpoints.
    """

    def __init__(self, name: str, log_every: int, checkpoint_every: int, kept: Path):
        self.name, self.log_every, self.checkpoint_every, self.kept = name, log_every, checkpoint_every, kept
        self.images, self.since, self.step = 0, 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.images, self.since, self.step = 0, time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images, and look where this is one of those steps."""
        self.images += len(batch[0]) * trainer.world_size
        step = trainer.global_step
        if step == self.step:  # a part of a batch that is accumulated
            return
        self.step = step
        saves = step % self.checkpoint_every == 0 or step == trainer.max_steps
        logs = step % self.log_every == 0
        if saves or logs:
            self._refuse_divergence(trainer, outputs["loss"], list(pl_module.parameters()) if saves else [])
        if logs:
            rate = self.images / (time.monotonic() - self.since)
            metrics = {f"{self.name}/loss": outputs["loss"].item(), f"{self.name}/images_per_s": rate}
            rates = {f"{self.name}/lr": found.scheduler.get_last_lr()[0] for found in trainer.lr_scheduler_configs[:1]}
            pl_module.log_dict(metrics | rates, rank_zero_only=True)
            if isinstance(trainer.progress_bar_callback, StepProgressBar):
                trainer.progress_bar_callback.show(metrics)
            self.images, self.since = 0, time.monotonic()

    def _refuse_divergence(self, trainer: pl.Trainer, loss: Tensor, weights: list[nn.Parameter]) -> None:
        finite = bool(torch.isfinite(torch.nn.utils.get_total_norm([loss, *weights])))
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            kept = sorted(self.kept.glob("*.ckpt"))
            raise UserError(
                f"The training diverged by step {self.step} of {trainer.max_steps}, loss {loss.item():.3g}: "
                f"lower the learning rate (last checkpoint before it: {kept[-1] if kept else 'none yet'})."
            )


class MovingAverage(WeightAveraging):
    """The exponential moving average of the weights, which takes the weights' place when the training has ended.

    It starts from the initial weights, as the authors' does, and moves all tensors in one operation, where Lightning's
    own would wait for the device in each step to see whether it is the first.

    Args:
        decay: how much of the average stays in each step.
    """

    def __init__(self, decay: float):
        self.move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().__init__(multi_avg_fn=self.move)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Average where the weights will be; the module is moved there only after this."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pair the tensors, in the precision that the weights have got by now."""
        assert self._average_model is not None
        self.current = list(pl_module.parameters())
        self.averaged = list(self._average_model.module.to(self.current[0].dtype).parameters())

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average, once an optimizer step."""
        if trainer.global_step > self._latest_update_step:
            self.move(self.averaged, self.current, None)
            self._latest_update_step = trainer.global_step


CHECKPOINT: dict[str, type] = {
    "pytorch-lightning_version": str,
    "epoch": int,
    "global_step": int,
    "state_dict": dict,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""What Lightning writes into a checkpoint, and needs to continue from it."""


def newest_checkpoint(folder: Path, below_step: int) -> Path | None:
    """The newest checkpoint that is as it was written, of a step below the given one; damaged ones are removed.

    One of the last step is left alone: a trainer that has nothing left to do skips what comes at the end of training.
    """
    for path in sorted(folder.glob("step=*.ckpt"), reverse=True):
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # which compares the checksums of all that is in it, a part at a time
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            step = content["global_step"]
            lacking = [name for name, kind in CHECKPOINT.items() if not isinstance(content.get(name), kind)]
            damaged = damaged or (f"it holds no {lacking[0]}" if lacking else None)
        except Exception as error:  # neither zipfile nor torch names a single exception for a broken file
            damaged = first_line(error)
        if damaged:
            log.warning("Left out the checkpoint %s, which is not as it was written (%s).", path.name, damaged)
            path.unlink()
        elif step < below_step:
            return path
    return None


def fit(
    module: pl.LightningModule,
    batches: TrainingBatches,
    *,
    name: str,
    label: str | None = None,
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
        module: takes batches of ``batches`` and returns a loss; where it optimizes by itself, batches come whole.
        batches: shuffled batches that start at the trainer's step.
        name: prefix of the metrics logged.
        label: name of the work in the progress bar; None: the name.
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
        UserError: where the loss or the weights are not finite (the checkpoints before that stay), and for a batch of
            fewer samples than it has shares.
    """
    folder = workspace / SCRATCH / "checkpoints"
    log_every = min(log_every, max_steps)
    batch_size = min(batches.batch_size, len(batches.arrays[0]))
    parts = accumulated_parts(runtime, batch_size) if module.automatic_optimization else 1
    if batch_size < parts * rank_info().world_size:
        raise UserError(
            f"A batch of {batch_size} can't be shared by {rank_info().world_size} devices that take it in {parts} "
            "parts each: lower trainer.devices, or raise trainer.device_batch_size or the batch size."
        )
    checkpoint = broadcast(newest_checkpoint(folder, max_steps) if is_rank_0() else None)
    if checkpoint:
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
    trainer = make_trainer(
        runtime,
        logger=logger,
        callbacks=[
            *callbacks,
            Watch(name, log_every, checkpoint_every, folder),
            saving,
        ],
        training=True,
        accumulate=parts,
        max_steps=max_steps,
        gradient_clip=gradient_clip,
        val_check_interval=validate_every,
        log_every=log_every,
        label=f"Training {label or name}",
    )
    trainer.fit(module, datamodule=batches, ckpt_path=checkpoint, weights_only=True)
