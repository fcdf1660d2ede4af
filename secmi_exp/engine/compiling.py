"""`torch.compile` for long work: compiling takes about a minute, and the network is faster afterwards."""

import logging
import time
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import nn

log = logging.getLogger(__name__)

WARM_UP = 3
"""Passes before the clock starts: the first ones allocate memory and choose algorithms."""
TIMED = 10
"""Passes that are timed."""
REPAYS_S = 300.0
"""Estimated seconds of remaining work above which the network is compiled."""


class CompileWhenItRepays(pl.Callback):
    """Compiles a network in place, at once or when the passes that remain would take minutes without it.

    Args:
        when: True: at once; False: never; auto: on CUDA, when more than `REPAYS_S` seconds of work remain.
        network: the network to compile; its weights keep their names.
    """

    def __init__(self, when: bool | Literal["auto"], network: nn.Module):
        self.when, self.network = when, network
        self.passes, self.since = 0, 0.0
        self.compiled, self.batch_size = False, 0
        if when is True:
            self._compile("as trainer.compile=true asks")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Estimate the rest of the training."""
        remaining = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        self._decide(pl_module.device, remaining)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Estimate the rest of the queries."""
        self.batch_size = self.batch_size or len(batch[0])
        self._decide(pl_module.device, int(sum(trainer.num_predict_batches)) - batch_idx - 1)

    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A batch of another size, the last one as a rule, would be compiled for anew: it runs without."""
        if self.compiled:
            other = self.batch_size not in (0, len(batch[0]))
            torch.compiler.set_stance("force_eager" if other else "default")

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the compiler's stance."""
        if self.compiled:
            torch.compiler.set_stance("default")

    def _decide(self, device: torch.device, remaining: int) -> None:
        """Decide once; waits for the device twice in all."""
        self.passes += 1
        if self.when != "auto" or device.type != "cuda" or self.passes not in (WARM_UP, WARM_UP + TIMED):
            return
        torch.cuda.synchronize(device)
        if self.passes == WARM_UP:
            self.since = time.monotonic()
            return
        rest = (time.monotonic() - self.since) / TIMED * remaining
        if rest > REPAYS_S:
            self._compile(f"since the rest would take {rest / 60:.0f} minutes without")

    def _compile(self, why: str) -> None:
        log.info("Compiling the network, %s.", why)
        self.network.compile(dynamic=False)
        self.compiled = True
