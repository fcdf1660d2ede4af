"""Labeled Faces in the Wild: the 100 gray 25×25 faces that come with scikit-image."""

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from secmi_exp.data.dataset import Dataset
from secmi_exp.data.images import Pixels
from secmi_exp.data.samples import ArraySamples
from secmi_exp.deferred import Deferred

lfw_subset = Deferred("skimage.data:lfw_subset")

FACES = 100
"""The subset's first half; the second holds backgrounds."""


def face_pixels() -> Pixels:
    """Gray values, [100, 25, 25]."""
    gray: NDArray[np.float64] = lfw_subset()
    return np.rint(gray[:FACES] * 255).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class LabeledFaces(Dataset):
    """All 100 faces."""

    def samples(self) -> ArraySamples:
        """Known by their row."""
        return ArraySamples("lfw", "scikit-image lfw_subset", face_pixels)
