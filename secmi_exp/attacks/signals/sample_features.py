"""What images and samples are compared by: their pixels, or features that no attacked image has a part in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.stored_rows import RowArray
from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json

PCA = Deferred("sklearn.decomposition:PCA")
hog = Deferred("skimage.feature:hog")

FeatureKind = Literal["pixels", "pca", "hog", "color_histogram"]
Floats = NDArray[np.float32]

VERSION = 1
"""Version of the features; raised when the same images would get others."""
FITTED_ON = 5000
"""Samples that the principal components are found from, at most: the first ones."""
ORIENTATIONS = 9
"""Orientations of gradients (Dalal and Triggs 2005)."""
BLOCK = 2
"""Cells a side that gradients are normalised over, where there are so many (Dalal and Triggs 2005)."""


@dataclass(frozen=True)
class Features:
    """Images in F numbers each."""

    kind: FeatureKind
    """pixels: in [−1, 1]. pca: those, on the samples' first principal components. hog: histograms of oriented
    gradients. color_histogram: shares of pixels of each colour."""
    pca_components: int
    """Largest number of components; there are no more than dimensions or samples."""
    hog_cell: int
    """Pixels a side."""
    histogram_bins: int
    """Bins of each channel."""
    samples: RowArray
    """Uint8, what the target generated, [M, C, H, W]."""

    @property
    def settings(self) -> dict[str, Json]:
        """Settings that this kind of features uses, and the version."""
        own: Mapping[FeatureKind, dict[str, Json]] = {
            "pixels": {},
            "pca": {"pca_components": self.pca_components},
            "hog": {"hog_cell": self.hog_cell},
            "color_histogram": {"histogram_bins": self.histogram_bins},
        }
        return {"features": self.kind, "version": VERSION, **own[self.kind]}

    @cached_property
    def dimensions(self) -> int:
        """F."""
        image = self.samples.shape[1:]
        if self.kind == "pca":
            return min(self.pca_components, len(self.samples), FITTED_ON, int(np.prod(image)))
        return len(self.of(np.zeros((1, *image), np.uint8))[0])

    def of(self, batch: NDArray[np.uint8]) -> Floats:
        """Return the features of a batch [B, C, H, W], [B, F].

        Raises:
            UserError: for images smaller than a cell of gradients.
        """
        match self.kind:
            case "pixels":
                return pixels(batch)
            case "pca":
                return np.asarray(self._components.transform(pixels(batch)), np.float32)
            case "hog":
                return oriented_gradients(batch, self.hog_cell)
        return color_histogram(batch, self.histogram_bins)

    @cached_property
    def _components(self) -> Any:
        found = PCA(self.dimensions, random_state=0)
        return found.fit(pixels(self.samples[slice(0, FITTED_ON)]))


@dataclass(frozen=True)
class FeatureRows:
    """Features of n images, computed when a batch is asked for."""

    features: Features
    images: RowArray
    """Uint8, [n, C, H, W]."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, F]."""
        return (len(self), self.features.dimensions)

    def __getitem__(self, rows: Any) -> Floats:
        """A batch, [B, F]."""
        return self.features.of(self.images[rows])


def pixels(batch: NDArray[np.uint8]) -> Floats:
    """Images [B, C, H, W] in [−1, 1], [B, C·H·W].

    >>> pixels(np.array([[[[0, 255]]]], np.uint8)).tolist()
    [[-1.0, 1.0]]
    """
    scaled: Floats = batch.reshape(len(batch), -1).astype(np.float32) / np.float32(127.5) - 1
    return scaled


def color_histogram(batch: NDArray[np.uint8], bins: int) -> Floats:
    """Share of each image's pixels in each of bins^C colours, [B, bins^C].

    >>> color_histogram(np.array([[[[0, 255]]]], np.uint8), bins=4).tolist()
    [[0.5, 0.0, 0.0, 0.5]]
    """
    n, channels, height, width = batch.shape
    levels = batch.reshape(n, channels, -1).astype(np.int64) * bins // 256
    colors = np.einsum("ncp,c->np", levels, bins ** np.arange(channels))
    places = np.arange(n)[:, None] * bins**channels + colors
    counts = np.bincount(places.ravel(), minlength=n * bins**channels).reshape(n, -1)
    shares: Floats = (counts / (height * width)).astype(np.float32)
    return shares


def oriented_gradients(batch: NDArray[np.uint8], cell: int) -> Floats:
    """Histograms of oriented gradients as scikit-image has them, which takes images one by one. [B, F].

    Raises:
        UserError: for images smaller than a cell.
    """
    cells = [side // cell for side in batch.shape[2:]]
    if 0 in cells:
        raise UserError(
            f"attack.hog_cell={cell} exceeds the images' {min(batch.shape[2:])} pixels: choose at most that."
        )
    block = tuple(min(BLOCK, count) for count in cells)
    rows = [hog(image, ORIENTATIONS, (cell, cell), block, channel_axis=-1) for image in np.moveaxis(batch / 255, 1, -1)]
    return np.asarray(rows, np.float32)
