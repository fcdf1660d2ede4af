"""The largest batch of images that a device takes, found by trying."""

import logging
import time
from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from secmi_exp.data.stored_rows import RowArray
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.trainers import first_device

log = logging.getLogger(__name__)

CPU_PIXELS = 2**13
"""Pixels of a batch on the CPU, 8 images of 32×32 or 128 of 8×8: measured, larger ones only leave the caches."""
FIRST, LARGEST = 1, 8192
GAIN = 1.03
"""Least speed-up per image for which a doubled batch is worth its memory."""


class BatchComputation(Protocol):
    """What is tried: `rows.Prediction`."""

    gradients: bool

    def to(self, device: torch.device) -> Self:
        """Move it."""

    def predict_step(self, batch: tuple[Tensor, ...]) -> object:
        """Compute one batch."""


def largest_batch(prediction: BatchComputation, arrays: Sequence[RowArray], runtime: Runtime) -> int:
    """Double the batch while it fits and an image gets faster; on the CPU it is a fixed number of pixels.

    Args:
        prediction: the computation whose batches are tried.
        arrays: rows that batches are made of, for their shapes.
        runtime: the machine that it will run on.

    Returns:
        Images a batch.
    """
    device = first_device(runtime)
    if device.type == "cpu":
        height, width = arrays[0].shape[-2:]
        return max(1, CPU_PIXELS // int(height * width))
    return try_batches(prediction.to(device), arrays, device)


def try_batches(prediction: BatchComputation, arrays: Sequence[RowArray], device: torch.device) -> int:
    """The largest batch, a power of two, that fits `device` and is faster an image than half of it."""
    n, size = len(arrays[0]), FIRST
    best, fastest = size, 0.0
    while size <= LARGEST:
        try:
            rate = size / _seconds(prediction, arrays, min(size, n), device)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            reason = f"{size} don't fit"
            break
        if rate < GAIN * fastest:
            reason = f"{size} are no faster"
            break
        best, fastest = size, rate
        if size >= n:
            reason = f"there are only {n}"
            break
        size *= 2
    else:
        reason = "it is the largest that is tried"
    log.info("Batches of %d images: %s.", best, reason)
    return best


def _seconds(prediction: BatchComputation, arrays: Sequence[RowArray], size: int, device: torch.device) -> float:
    """Time one batch, after one to warm up."""
    batch = tuple(torch.from_numpy(np.array(array[slice(0, size)])).to(device) for array in arrays)
    with torch.inference_mode(not prediction.gradients):
        for _ in range(2):
            started = time.monotonic()
            outcome = prediction.predict_step(batch)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            del outcome
    return time.monotonic() - started
