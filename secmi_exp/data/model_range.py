"""The range in which models see pixels."""

from torch import Tensor


def to_model_range(images: Tensor) -> Tensor:
    """Uint8 pixels to float32 in [−1, 1].

    >>> import torch
    >>> to_model_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [-1.0, 1.0]
    """
    return images.float() / 127.5 - 1.0
