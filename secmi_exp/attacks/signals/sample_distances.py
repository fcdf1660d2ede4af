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
"""Largest size of each array of a block: features of images, features of samples, and distances."""
MOST_ROWS = 8192
ROUNDING = 1e-10
"""Squared distances below are the rounding's, and count as none."""


def blocks(images: FeatureRows, samples: FeatureRows) -> Iterator[tuple[slice, slice, Distances]]:
    """Some images, some samples, and their distances [B, S]; all samples come before the next images."""
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
            yield rows, columns, np.sqrt(squared, out=squared)


def nearest(images: FeatureRows, samples: FeatureRows) -> Distances:
    """min_j ‖x_i − g_j‖, [n]."""
    least = np.full(len(images), np.inf)
    for rows, _, distances in blocks(images, samples):
        np.minimum(least[rows], distances.min(axis=1), out=least[rows])
    return least


def mean_of_nearest(images: FeatureRows, samples: FeatureRows, count: int) -> Distances:
    """Mean distance of each sample to the nearest so many images, [M]."""
    least = np.full((len(samples), count), np.inf)
    for rows, _, distances in blocks(samples, images):
        both = np.concatenate([least[rows], distances], axis=1)
        least[rows] = np.partition(both, count - 1, axis=1)[:, :count]
    mean: Distances = least.mean(axis=1)
    return mean


def least_ratio(images: FeatureRows, samples: FeatureRows, scale: Distances) -> Distances:
    """min_j ‖x_i − g_j‖ / s_j with a scale s [M] for each sample, [n]; samples whose scale is 0 are left out."""
    least = np.full(len(images), np.inf)
    for rows, columns, distances in blocks(images, samples):
        ratios = np.full_like(distances, np.inf)
        np.divide(distances, scale[columns], out=ratios, where=scale[columns] > 0)
        np.minimum(least[rows], ratios.min(axis=1), out=least[rows])
    return least
