"""The largest batch of images that a device takes, found by trying."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from secmi_exp.engine.batches import Array
from secmi_exp.engine.runtime import Runtime

log = logging.getLogger(__name__)

CPU_PIXELS = 2**13
"""Of a batch on the CPU, 8 images of 32×32 or 128 of 8×8: measured, more of them only leave the caches."""
FIRST, LARGEST = 1, 8192
GAIN = 1.03
"""A doubled batch has to be faster by this, an image, to be worth its memory."""


def largest_batch(module: pl.LightningModule, arrays: Sequence[Array], runtime: Runtime) -> int:
    """Double the batch while it fits and an image gets faster; on the CPU it is a fixed number of pixels.

    Args:
        module: whose `predict_step` is tried.
        arrays: what its batches are made of, for their shapes.
        runtime: where it will run.

    Returns:
        Images a batch.
    """
    device = runtime.trainer().strategy.root_device
    if device.type == "cpu":
        height, width = arrays[0].shape[-2:]
        return max(1, CPU_PIXELS // int(height * width))
    return try_batches(module.to(device), arrays, device)


def try_batches(module: Any, arrays: Sequence[Array], device: torch.device) -> int:
    """The largest batch, a power of two, that fits `device` and is faster an image than half of it."""
    n, size = len(arrays[0]), FIRST
    best, fastest = size, 0.0
    while size <= LARGEST:
        try:
            rate = size / _seconds(module, arrays, min(size, n), device)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            reason = f"{size} don't fit"
            break
        if rate < GAIN * fastest:
            reason = f"{size} are no faster"
            break
        best, fastest = size, rate
        if size >= n:
            reason = "more there are not"
            break
        size *= 2
    else:
        reason = "it is the largest that is tried"
    log.info("Batches of %d images: %s.", best, reason)
    return best


def _seconds(module: Any, arrays: Sequence[Array], size: int, device: torch.device) -> float:
    """Of one batch, after one to warm up."""
    batch = tuple(torch.from_numpy(np.array(array[slice(0, size)])).to(device) for array in arrays)
    with torch.inference_mode():
        for _ in range(2):
            started = time.monotonic()
            outcome = module.predict_step(batch, 0)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            del outcome
    return time.monotonic() - started
