"""What a classifier that never sees the target looks at: images in few numbers, computed in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.slices import slices

if TYPE_CHECKING:
    from secmi_exp.engine.batches import Array

Features = NDArray[np.float32]

BATCH_BYTES = 2**26
COARSE = 8
"""Pixels a side of the coarse view."""
RINGS = 16
"""Of the power spectrum."""


def batches(images: Array) -> Iterator[NDArray[Any]]:
    """Uint8 images [B, C, H, W], a few at a time."""
    size = max(1, BATCH_BYTES // int(np.prod(images.shape[-3:]) * 8))
    return (images[rows] for rows in slices(len(images), size))


def coarse_view(images: Array) -> Features:
    """Each image in 8×8 means a channel, and the mean size of its gradients, in [0, 1]. [n, F]."""
    return np.concatenate([_coarse((batch / 255).astype(np.float32)) for batch in batches(images)])


def _coarse(pixels: Features) -> Features:
    n, _, height, width = pixels.shape
    rows, columns = (np.linspace(0, side, min(COARSE, side) + 1).astype(int)[:-1] for side in (height, width))
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, axis=2), columns, axis=3)
    areas = np.diff([*rows, height])[:, None] * np.diff([*columns, width])
    edges = [
        np.abs(np.diff(pixels, axis=axis)).mean(axis=(1, 2, 3)) if pixels.shape[axis] > 1 else np.zeros(n, np.float32)
        for axis in (2, 3)
    ]
    return np.concatenate([(sums / areas).reshape(n, -1), np.stack(edges, axis=1)], axis=1)


def low_level(images: Array) -> Features:
    """What tells sources of images apart: shares of each of the 256 values, moments, and the power spectrum. [n, F]."""
    return np.concatenate([_low_level(batch) for batch in batches(images)])


def _low_level(batch: NDArray[np.uint8]) -> Features:
    n, channels, height, width = batch.shape
    places = np.arange(n * channels)[:, None] * 256 + batch.reshape(n * channels, -1)
    shares = np.bincount(places.ravel(), minlength=n * channels * 256).reshape(n, -1) / (height * width)
    pixels = batch.astype(np.float32) / 255
    flat = pixels.reshape(n, channels, -1)
    moments = np.concatenate([flat.mean(axis=2), flat.std(axis=2), flat.min(axis=2), flat.max(axis=2)], axis=1)
    power = np.abs(np.fft.fft2(pixels.mean(axis=1))) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    ring = np.minimum((radius / (radius.max() or 1.0) * RINGS).astype(int), RINGS - 1).ravel()
    counts = np.bincount(ring, minlength=RINGS)
    order = np.argsort(ring, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    present = counts > 0
    spectrum = np.add.reduceat(power.reshape(n, -1)[:, order], starts[present], axis=1) / counts[present]
    return np.concatenate([shares, moments, np.log(spectrum + 1e-9)], axis=1).astype(np.float32)
