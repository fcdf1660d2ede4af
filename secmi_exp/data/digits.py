"""scikit-learn's handwritten digits: 1,797 gray 8×8 images that come with the library."""

import numpy as np
from pydantic.dataclasses import dataclass
from sklearn.datasets import load_digits

from secmi_exp.data.images import Dataset, ImageSet


@dataclass(frozen=True)
class Digits(Dataset):
    """Pixel counts 0 … 16 spread over 0 … 255."""

    def read(self) -> ImageSet:
        """All 1,797 digits, [1797, 1, 8, 8]."""
        counts = load_digits().images[:, None]
        pixels = np.rint(counts * (255 / 16)).astype(np.uint8)
        return ImageSet(pixels, [f"{self.name}/{row:04d}" for row in range(len(pixels))])
