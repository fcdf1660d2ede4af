"""The networks that pixel-space targets may have: what images and conditions they take, and how they are evaluated."""

from typing import Any

from secmi_exp.errors import UserError
from secmi_exp.targets.loading.model_file_schemas import UNet2D
from secmi_exp.targets.loading.transformer_schemas import DiTTransformer
from secmi_exp.torch_on_use import Tensor, torch

Description = UNet2D | DiTTransformer
"""Content of a network's ``config.json``, or its ``config`` itself."""

SCHEMAS: dict[str, type[UNet2D | DiTTransformer]] = {"UNet2DModel": UNet2D, "DiTTransformer2DModel": DiTTransformer}
"""Class in diffusers → schema of its description."""


def evaluate(network: Any, x: Tensor, times: Tensor, label: Tensor | None = None) -> Tensor:
    """Evaluate a network; a variance, the second half of the channels, is left out.

    Args:
        network: of one of the classes above.
        x: states in its precision, [B, C, H, W].
        times: [B].
        label: class labels, [B]; None for a network without, or with a single class.
    """
    if label is None and (classes := getattr(network.config, "num_embeds_ada_norm", None)):
        label = torch.full_like(times, classes, dtype=torch.long)
    conditions = {} if label is None else {"class_labels": label}
    output: Tensor = network(x, times, **conditions).sample[:, : x.shape[1]]
    return output


def refuse_other_networks(network: Description, what: str) -> None:
    """Refuse a network that has another condition than class labels, or that predicts something else than an image.

    Args:
        network: description of the network.
        what: name of the network, for the message.

    Raises:
        UserError: naming what is wrong.
    """
    if kind := getattr(network, "class_embed_type", None):
        raise UserError(
            f"{what[0].upper()}{what[1:]} has class_embed_type={kind}: only class labels (class_embed_type=null, "
            "num_class_embeds) can be given."
        )
    channels, predicted = network.in_channels, network.out_channels or network.in_channels
    if predicted not in (channels, 2 * channels):
        raise UserError(
            f"With in_channels={channels} and out_channels={predicted}, {what} predicts no noise: it must have as many "
            "output channels, or twice as many where it predicts the variance too."
        )


def refuse_other_images(network: Description, shape: tuple[int, int, int], what: str) -> None:
    """Compare the shape of images that a network takes with the dataset's.

    Args:
        network: description of the network.
        shape: (C, H, W) of the dataset's images.
        what: name of the network, for the message.

    Raises:
        UserError: with both shapes.
    """
    channels, height, width = shape
    size = network.sample_size
    sides = (size, size) if isinstance(size, int) else tuple(size or (height, width))
    given = f"the dataset's images have {channels} channels and {height}×{width} pixels"
    if (network.in_channels, *sides) != shape:
        raise UserError(
            f"{what} takes images of {network.in_channels} channels and {'×'.join(map(str, sides))} pixels, and "
            f"{given}: set dataset.channels and dataset.image_size to the network's."
        )
    if patch := getattr(network, "patch_size", None):
        divisor, taken = patch, f"takes {patch}×{patch} pixels as one"
    else:
        halvings = len(network.block_out_channels) - 1  # type: ignore[union-attr]  # of a U-Net
        divisor, taken = 2**halvings, f"halves its images {halvings} times"
    if height % divisor or width % divisor:
        raise UserError(f"{what} {taken}, and {given}: set dataset.image_size to a multiple of {divisor}.")
