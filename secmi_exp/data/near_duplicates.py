"""Images that look alike without equal pixels: encoded anew, scaled, or of another brightness.

Each image has a perceptual hash: the signs of the 255 lowest frequencies of the discrete cosine transform of its 32×32
means (after Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", whose hash has 64 bits).
Images whose hashes differ in at most 28 bits are alike, and so are those that a chain of such pairs connects. On
photographs different ones differ in 70 bits or more; crops of a few percent, mirrored and rotated copies are not found
(`experiments/near_duplicates.py` measures it). Images of fewer than 32×32 pixels have too little in them for that.
`secmi_exp.split_checks.similar_images` looks for further ones by a network's features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.images import ImageSet, Pixels, Rows, release
from secmi_exp.data.slices import slices
from secmi_exp.store import Key, Store

VERSION = 1
"""Version of the hash and of the search; raised when the same images would be grouped otherwise."""

SIDE = 32
"""Means a side that an image is reduced to, and so its smallest side."""
FREQUENCIES = 16
"""Lowest frequencies a side; that of both sides' zero, the mean, is left out."""
MOST_DIFFERING = 28
"""Bits of 255."""
FLAT = 1.0
"""Standard deviation of the means, of 255, below which an image shows too little: the signs would be those of noise."""
BAND_BITS = 16
"""Bits that a pair has in common to be looked at. In two orders of the bits there are 32 such bands, and of pairs that
differ in 28 bits 99.5% have one in common."""
NEIGHBOURS = 64
"""Images with the same bits in a band that each is compared with: the search takes O(n), however alike all are."""
BATCH = 1024

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class NearDuplicates:
    """Which images of a set are alike."""

    alike: Rows
    """A number for each image, the same for those that are alike or equal. [N]"""
    untold: str = ""
    """Why nothing can be said beyond equal pixels; empty where it can."""
    similarity: float | None = None
    """Cosine of features from which on images are alike, too; None where no features were asked for."""


def find_near_duplicates(images: ImageSet, store: Store) -> NearDuplicates:
    """Group a set, or read from the store how it was grouped before."""
    if untold := too_small(images):
        return NearDuplicates(images.content, untold)
    key = Key("near_duplicates", VERSION, {}, {"images": images.select(np.arange(len(images))).digest}, ("alike.npy",))

    def build(workspace: Path) -> None:
        np.save(workspace / "alike.npy", groups_of(images))

    return NearDuplicates(np.load(store.get_or_build(key, build).path / "alike.npy"))


def too_small(images: ImageSet) -> str:
    """Why images are too small to be told apart by a hash; empty where they are not."""
    height, width = images.pixels.shape[2:]
    if min(height, width) >= SIDE:
        return ""
    return f"images of {height}×{width} pixels are too small for a perceptual hash, which needs {SIDE}×{SIDE}"


def groups_of(images: ImageSet) -> Rows:
    """A number for each image, the same for those that are alike or equal. [N]."""
    hashes, shows_something = perceptual_hashes(images.pixels)
    rows = np.flatnonzero(shows_something & images.readable)
    distinct, first, numbers = np.unique(hashes[rows], axis=0, return_index=True, return_inverse=True)
    hashed = rows[first]
    same_hash = np.stack([rows, hashed[numbers.ravel()]], axis=1)
    close = np.stack([hashed, hashed[close_hashes(distinct)]], axis=1)
    return connected(np.arange(len(images)), np.concatenate([pairs_of(images.content), same_hash, close]))


def pairs_of(numbers: Rows) -> Rows:
    """Each row, and the first row with the same number. [n, 2].

    >>> pairs_of(np.array([7, 5, 7])).tolist()
    [[0, 0], [1, 1], [2, 0]]
    """
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.stack([np.arange(len(numbers)), first[inverse]], axis=1)


def perceptual_hashes(pixels: Pixels) -> tuple[Hashes, NDArray[np.bool_]]:
    """Hashes of images [N, C, H, W] of at least 32×32 pixels, and whether they show enough to be hashed.

    Returns:
        255 bits and a zero, [N, 4], and [N].
    """
    angles = np.pi / SIDE * np.outer(np.arange(FREQUENCIES), np.arange(SIDE) + 0.5)
    cosines = np.cos(angles).astype(np.float32)
    hashes = np.zeros((len(pixels), FREQUENCIES**2 // 64), dtype=np.uint64)
    shows = np.zeros(len(pixels), dtype=bool)
    for batch in slices(len(pixels), BATCH):
        means = coarse_means(pixels[batch])
        shows[batch] = means.std(axis=(1, 2)) >= FLAT
        waves = (cosines @ means @ cosines.T).reshape(len(means), -1)
        hashes[batch] = np.packbits(waves[:, 1:] > 0, axis=1).view(np.uint64)
        release(pixels)
    return hashes, shows


def coarse_means(pixels: Pixels) -> NDArray[np.float32]:
    """Gray images in 32×32 means, less their own mean. [B, 32, 32]."""
    gray = pixels.mean(axis=1, dtype=np.float32)
    height, width = gray.shape[1:]
    rows, columns = (np.linspace(0, side, SIDE + 1).astype(int) for side in (height, width))
    sums = np.add.reduceat(np.add.reduceat(gray, rows[:-1], axis=1), columns[:-1], axis=2)
    means = sums / (np.diff(rows)[:, None] * np.diff(columns)).astype(np.float32)
    centred: NDArray[np.float32] = means - means.mean(axis=(1, 2), keepdims=True)
    return centred


def close_hashes(hashes: Hashes) -> Rows:
    """A number for each hash [n, 4], the same for those that a chain of pairs joins; a pair differs in at most 28 bits.

    In each band the hashes are sorted by its bits, and each is compared with the next ones of the same bits, unless
    they are connected already. [n].
    """
    lowest = np.arange(len(hashes))
    for band in bands(hashes):
        order = np.argsort(band, kind="stable")
        ordered = band[order]
        for step in range(1, NEIGHBOURS + 1):
            same = np.flatnonzero(ordered[step:] == ordered[:-step])
            if not len(same):
                break
            first, second = order[same], order[same + step]
            apart = lowest[first] != lowest[second]
            first, second = first[apart], second[apart]
            differing = np.bitwise_count(hashes[first] ^ hashes[second]).sum(axis=1, dtype=np.int64)
            close = differing <= MOST_DIFFERING
            if close.any():
                lowest = connected(lowest, np.stack([first[close], second[close]], axis=1))
    return lowest


def bands(hashes: Hashes) -> Iterator[NDArray[np.uint16]]:
    """The hashes' bits in two random orders, 16 at a time. [n] each."""
    random = np.random.default_rng(0)
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    for _ in range(2):
        shuffled = np.packbits(np.ascontiguousarray(bits[:, random.permutation(bits.shape[1])]), axis=1).view(np.uint16)
        yield from shuffled.T


def connected(lowest: Rows, pairs: Rows) -> Rows:
    """The components of a graph.

    Args:
        lowest: the lowest node of each one's component before the edges are added, [n].
        pairs: edges, [p, 2].

    Returns:
        The lowest node of each one's component, [n].

    >>> connected(np.arange(5), np.array([[0, 3], [3, 4]])).tolist()
    [0, 1, 2, 0, 0]
    """
    lowest = lowest.copy()
    while True:
        ends = lowest[pairs]
        ends = np.stack([ends.min(axis=1), ends.max(axis=1)])
        ends = ends[:, ends[0] < ends[1]]
        if not ends.shape[1]:
            return lowest
        np.minimum.at(lowest, ends[1], ends[0])
        while (lowest[lowest] != lowest).any():
            lowest = lowest[lowest]
