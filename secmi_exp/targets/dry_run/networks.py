"""Networks as a configuration describes them, tried without memory for them: on torch's meta device.

What a network can't be built from, and what only its first prediction would fail at, is found before any stage.
"""

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import nn

from secmi_exp.data.images import Images
from secmi_exp.defenses.dp_sgd import DPSGD
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.targets.dry_run.optimizers import try_optimizer
from secmi_exp.targets.dry_run.settings import attempt, refuse_huge_networks, refuse_unlike_defaults
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.pixel.ddpm import DDPM
from secmi_exp.targets.pixel.ddpm_training import refuse_lost_signal
from secmi_exp.targets.pixel.pipeline_folder import refuse_other_images

Shape = tuple[int, int, int]
"""(C, H, W) of the images."""

BATCH = 2
BYTES = 4
"""Of a weight in float32."""


def try_ddpm(recipe: DDPM, images: Shape, runtime: Runtime) -> None:
    """Build the network, predict once, and take a step of the optimizer.

    Raises:
        UserError: naming the setting that doesn't do.
    """
    if isinstance(recipe.defense, DPSGD):
        recipe.defense.refuse(runtime)

    def predict(network: UNet2DModel) -> None:
        refuse_other_images(network, no_images(images), "The network that target.network describes")
        network(torch.empty(BATCH, *images), torch.zeros(BATCH, dtype=torch.long))

    def make(settings: Settings) -> UNet2DModel:
        return UNet2DModel(**settings)

    try_network("diffusers", "target.network", recipe.network, UNet2DModel, make, predict)
    refuse_lost_signal(DDPMScheduler(**asdict(recipe.schedule)).alphas_cumprod)
    try_optimizer(recipe.optimizer, "target.optimizer")


def no_images(shape: Shape) -> Images:
    """None at all, of this shape."""
    return Images(np.empty((0, *shape), np.uint8), np.empty((0, 0), np.uint8), np.empty(0, np.int64))


def try_network(
    library: str,
    place: str,
    settings: Settings,
    kind: Callable[..., object],
    make: Callable[[Settings], Any],
    predict: Callable[[Any], object],
) -> Any:
    """Build a network on the meta device, and use it once as in training.

    Args:
        library: that it comes from.
        place: key of the settings.
        settings: of the network.
        kind: class whose arguments the settings are.
        make: the network from the settings.
        predict: calls it.

    Returns:
        The network, without weights.

    Raises:
        UserError: naming the setting at fault, and for a network whose weights this machine has no memory for.
    """
    refuse_huge_networks(settings, place)
    refuse_unlike_defaults(kind, settings, place)

    def made(settings: Settings) -> Any:
        with torch.device("meta"):
            network = make(settings)
            predict(network.train())
        return network

    network = attempt(library, place, settings, made)
    refuse_beyond_memory(network, place)
    return network


def refuse_beyond_memory(network: nn.Module, place: str) -> None:
    """Refuse a network whose weights alone take more than this machine's memory.

    Raises:
        UserError: with both sizes.
    """
    needed = BYTES * sum(weights.numel() for weights in network.parameters())
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else needed
    if needed > there:
        raise UserError(
            f"{place} describes a network with {needed / 2**30:,.0f} GiB of weights, and this machine has "
            f"{there / 2**30:,.0f} GiB of memory: make it smaller."
        )
