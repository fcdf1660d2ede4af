"""The range in which models see pixels."""

from secmi_exp.torch_on_use import Tensor


def to_model_range(images: Tensor) -> Tensor:
    """Uint8 pixels to float32 in [−1, 1].

    >>> import torch
    >>> to_model_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [-1.0, 1.0]
    """
    return images.float() / 127.5 - 1.0


def to_input_range(images: Tensor, input_range: tuple[float, float]) -> Tensor:
    """Uint8 pixels to float32 in the range of a network.

    Args:
        images: uint8, any shape.
        input_range: the network's values for black and white.

    >>> import torch
    >>> to_input_range(torch.tensor([0, 255], dtype=torch.uint8), (0.0, 1.0)).tolist()
    [0.0, 1.0]
    """
    black, white = input_range
    middle, half = (white + black) / 2, (white - black) / 2
    return to_model_range(images) * half + middle
