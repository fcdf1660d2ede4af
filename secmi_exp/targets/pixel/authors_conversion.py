"""Converts a checkpoint of the authors' pytorch-ddpm code into a diffusers pipeline."""

import logging
from pathlib import Path
from typing import Any

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from secmi_exp.errors import UserError
from secmi_exp.targets.loading.blank_networks import network_without_memory
from secmi_exp.targets.loading.weights import read_pickled, refuse_non_finite_weights
from secmi_exp.targets.pixel.authors_format import FLAG_FILE, Flags, from_authors

log = logging.getLogger(__name__)


def convert(path: Path, weights: str, flags: Flags, workspace: Path) -> None:
    """Write the pipeline into the workspace.

    Args:
        path: the checkpoint.
        weights: ``ema`` or ``net``.
        flags: those that it was trained with.
        workspace: of the store.

    Raises:
        UserError: for a checkpoint that can't be read or contradicts its flags.
    """
    network = network_without_memory(UNet2DModel, flags.network, f"the network of {path.with_name(FLAG_FILE)}")
    state = from_authors(read_state_dict(path, f"{weights}_model"), flags, network, path)
    refuse_non_finite_weights(state, path)
    network.load_state_dict(state, assign=True)
    DDPMPipeline(unet=network, scheduler=DDPMScheduler(**flags.scheduler)).save_pretrained(workspace)
    millions = network.num_parameters(exclude_embeddings=True) / 1e6
    log.info("Converted %s of %s: %.2f M parameters, %s.", weights, path, millions, flags)


def read_state_dict(path: Path, name: str) -> dict[str, Any]:
    """Read one of a checkpoint's state dicts.

    Raises:
        UserError: for a file that can't be read, or has no such state dict.
    """
    checkpoint = read_pickled(path)
    if not isinstance(checkpoint, dict):
        raise UserError(
            f"{path} holds a {type(checkpoint).__name__} instead of a checkpoint with {name}: is it the right file?"
        )
    weights = checkpoint.get(name)
    if not isinstance(weights, dict):
        keys = ", ".join(map(str, list(checkpoint)[:8]))
        raise UserError(
            f"{path} has no {name} but {keys}: set target.path to a checkpoint of the authors' pytorch-ddpm."
        )
    return weights
