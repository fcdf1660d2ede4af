"""Distances between attacked images and samples, block by block, so that neither set nor all pairs need fit in memory.

In float64, where ‖a‖² + ‖b‖² − 2ab has digits left for images that nearly equal a sample.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from secmi_exp.attacks.signals.sample_features import FeatureRows
from secmi_exp.data.slices import slices

Distances = NDArray[np.float64]

BLOCK_BYTES = 2**25
"""Of each array that a block takes: features of images, features of samples, and distances."""
MOST_ROWS = 8192
ROUNDING = 1e-10
"""Squared distances below are the rounding's, and count as none."""


def blocks(images: FeatureRows, samples: FeatureRows) -> Iterator[tuple[slice, Distances]]:
    """Some images and their distances to some samples, [B, S]; all samples come before the next images."""
    features = samples.shape[1]
    height = max(1, min(MOST_ROWS, BLOCK_BYTES // (8 * features)))
    width = max(1, min(height, BLOCK_BYTES // (8 * min(height, len(images)))))
    for rows in slices(len(images), height):
        a = images[rows].astype(np.float64)
        for columns in slices(len(samples), width):
            b = samples[columns].astype(np.float64)
            squared = a @ b.T
            squared *= -2
            squared += np.einsum("if,if->i", a, a)[:, None]
            squared += np.einsum("jf,jf->j", b, b)
            squared[squared < ROUNDING] = 0
            yield rows, np.sqrt(squared, out=squared)


def nearest(images: FeatureRows, samples: FeatureRows) -> Distances:
    """min_j ‖x_i − g_j‖, [n]."""
    least = np.full(len(images), np.inf)
    for rows, distances in blocks(images, samples):
        np.minimum(least[rows], distances.min(axis=1), out=least[rows])
    return least
