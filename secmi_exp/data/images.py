"""Image sets: uint8 pixels with a stable id for each sample, and the range in which models see them."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import field

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor

from secmi_exp.errors import UserError


@dataclass(frozen=True, config=ConfigDict(arbitrary_types_allowed=True))
class ImageSet:
    """Decoded images in dataset order."""

    images: NDArray[np.uint8]
    """[N, C, H, W]."""
    ids: list[str]
    """One stable, unique name a sample, such as ``digits/0042``."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Dataset(ABC):
    """What a file in ``conf/dataset`` names: where the images come from, and what they look like."""

    name: str
    image_size: int
    """Height and width in pixels."""
    channels: int
    horizontal_flip: bool
    """Whether a mirrored image is as good as the original, so that targets may be trained with flips."""
    suggested: dict[str, int | None] = field(default_factory=dict)
    """Values that other config groups read by interpolation."""

    def load(self) -> ImageSet:
        """All images.

        Raises:
            UserError: where what is on disk is not what the config says.
        """
        images = self.read()
        shape, expected = images.images.shape[1:], (self.channels, self.image_size, self.image_size)
        if shape != expected:
            raise UserError(
                f"Dataset {self.name} has images of shape {shape} (channels, height, width) where its config says "
                f"{expected}: set dataset.channels and dataset.image_size accordingly."
            )
        return images

    @abstractmethod
    def read(self) -> ImageSet:
        """Decode the images."""


def content_digest(images: NDArray[np.uint8]) -> str:
    """SHA-256 over pixels [N, C, H, W] in this order: images as the store's keys name them."""
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def to_model_range(images: Tensor) -> Tensor:
    """Uint8 pixels to float32 in [−1, 1].

    >>> import torch
    >>> to_model_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [-1.0, 1.0]
    """
    return images.float() / 127.5 - 1.0
