"""Steps/s of training a target, against a plain loop of the published recipe on the same network and batch."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from experiments.benchmarks import published
from experiments.benchmarks.measure import ROUNDS, Figure, ratios
from experiments.benchmarks.subjects import T, images, network, recipe, runtime, scaled
from secmi_exp.diffusion.path import alphas_cumprod_from_betas
from secmi_exp.targets.pixel import training

WARM_UP = 10


class Clock(pl.Callback):
    """Seconds from one step to a later one."""

    def __init__(self, first: int, last: int):
        self.first, self.last = first, last
        self.started, self.seconds = 0.0, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Start or stop; waits for the device at these two steps."""
        if trainer.global_step in (self.first, self.last):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if trainer.global_step == self.first:
                self.started = time.perf_counter()
            else:
                self.seconds = time.perf_counter() - self.started


def benchmark(device: torch.device, size: str, batch: int, steps: int, **settings: Any) -> list[Figure]:
    """Rounds of both in turn.

    Args:
        device: of both.
        size: of the network.
        batch: images a step.
        steps: timed in each round.
        settings: of the trainer, such as its precision.
    """
    tag = "".join(f", {name}={value}" for name, value in settings.items())
    name = f"training, {size} network, batch {batch}{tag}"
    pictures = images(size, max(256, batch))
    last = WARM_UP + steps
    chosen = recipe(
        size, f"target.batch_size={batch}", f"target.max_steps={last}", "target.sample_every=1000000",
        "target.checkpoint_every=1000000", "target.horizontal_flip=false",
    )  # fmt: skip
    trainer = runtime(accelerator=device.type, **settings)
    abar = alphas_cumprod_from_betas(torch.linspace(1e-4, 0.02, T)).float().to(device)
    plain = published.train(
        network(size).to(device), scaled(pictures, device), abar, batch, 2e-4, chosen.warmup_steps or 1,
        chosen.gradient_clip, chosen.ema_decay,
    )  # fmt: skip
    take(plain, WARM_UP, device)
    theirs, ours = [], []
    for _ in range(ROUNDS):
        theirs.append(take(plain, steps, device))
        ours.append(timed(chosen, pictures, trainer, last))
    return [
        Figure.of(name, "plain loop", [steps / each for each in theirs], "steps/s"),
        Figure.of(name, "secmi_exp", [steps / each for each in ours], "steps/s"),
        Figure.of(name, "secmi_exp / plain loop", ratios(theirs, ours), "×"),
    ]


def take(losses: Iterator[float], steps: int, device: torch.device) -> float:
    """Seconds of these steps of the plain loop."""
    started = time.perf_counter()
    for _ in range(steps):
        next(losses)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def timed(chosen: Any, pictures: Any, trainer: Any, last: int) -> float:
    """Seconds of as many of ours, after a warm-up of the same length."""
    clock, folder = Clock(WARM_UP, last), Path(tempfile.mkdtemp())
    training.train(chosen, pictures, folder, trainer, logger=None, callbacks=[clock])
    shutil.rmtree(folder)
    return clock.seconds
