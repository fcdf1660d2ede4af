"""Networks tried before any stage runs, without memory for them: on torch's meta device.

So a setting with which a network can't be built, or would fail at its first prediction, is reported at once.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from secmi_exp.errors import UserError
from secmi_exp.targets.dry_run.settings import attempt, refuse_huge_networks, refuse_unlike_defaults
from secmi_exp.targets.library_settings import Settings

Shape = tuple[int, int, int]
"""(C, H, W) of the images."""

BATCH = 2
BYTES = 4
"""Size of a weight in float32."""


def try_network(
    library: str,
    place: str,
    settings: Settings,
    kind: Callable[..., object],
    make: Callable[[Settings], Any],
    predict: Callable[[Any], object],
) -> Any:
    """Build a network on the meta device, and evaluate it once as in training.

    Args:
        library: name of the library that it comes from.
        place: key of the settings.
        settings: arguments of the network.
        kind: class whose arguments they are.
        make: builds the network.
        predict: evaluates it.

    Returns:
        The network, without weights.

    Raises:
        UserError: naming the setting at fault; also for a network whose weights don't fit this machine's memory.
    """
    refuse_huge_networks(settings, place)
    refuse_unlike_defaults(kind, settings, place)

    def build(settings: Settings) -> Any:
        with torch.device("meta"):
            network = make(settings)
            predict(network.train())
        return network

    network = attempt(library, place, settings, build)
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
