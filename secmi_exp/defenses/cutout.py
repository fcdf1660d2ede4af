"""Cutout: a square hole in each training image.

Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017), section 3.2:
the square's centre is a pixel of the image, so that a part of the square may lie outside; its pixels become the mean.
"""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from secmi_exp.defenses.defense import Defense, Draws
from secmi_exp.torch_on_use import Tensor, torch


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Cutout(Defense):
    """One hole in each image, drawn anew each time that the image is used."""

    fraction: Annotated[float, Field(gt=0, le=1)]
    """Side of the square, in units of the image's shorter side."""

    def model_input(self, images: Tensor, draws: Draws) -> Tensor:
        """Return images in [−1, 1] with holes of 0."""
        height, width = images.shape[-2:]
        size = max(1, round(self.fraction * min(height, width)))
        x_0 = super().model_input(images, draws)
        return cut_out(x_0, draws.integers(height), draws.integers(width), size)


def cut_out(images: Tensor, rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """Set a square of each image to 0.

    Args:
        images: [B, C, H, W].
        rows: rows of the squares' centres, 0 … H − 1, [B].
        columns: columns of the centres, 0 … W − 1, [B].
        size: side of the squares; an even one reaches one pixel further to the top and to the left.

    >>> import torch
    >>> cut_out(torch.ones(1, 1, 3, 4), torch.tensor([0]), torch.tensor([2]), 2)[0, 0].tolist()
    [[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    """
    return images.masked_fill(
        (_within(rows, size, images.shape[-2])[:, :, None] & _within(columns, size, images.shape[-1])[:, None, :])[
            :, None
        ],
        0.0,
    )


def _within(centres: Tensor, size: int, length: int) -> Tensor:
    """Return which pixels of an axis lie in each square, [B, length]."""
    first = (centres - size // 2)[:, None]
    pixels = torch.arange(length, device=centres.device)[None]
    return (first <= pixels) & (pixels < first + size)
