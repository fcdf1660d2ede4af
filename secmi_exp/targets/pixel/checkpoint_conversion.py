"""Converts checkpoints of the authors' pytorch-ddpm code and of guided-diffusion (ADM) into diffusers pipelines."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from secmi_exp.engine.kept_target import forget_target
from secmi_exp.errors import UserError
from secmi_exp.targets.loading.blank_networks import network_without_memory
from secmi_exp.targets.loading.tensor_headers import state_dict
from secmi_exp.targets.loading.weights import read_pickled, refuse_non_finite_weights
from secmi_exp.targets.pixel.adm_format import ADMFlags, from_adm
from secmi_exp.targets.pixel.authors_format import FLAG_FILE, Flags, from_authors

log = logging.getLogger(__name__)


def convert_authors(path: Path, weights: str, flags: Flags, workspace: Path) -> None:
    """Write the pipeline of a checkpoint of the authors' code into the workspace.

    Args:
        path: the checkpoint.
        weights: ``ema`` or ``net``.
        flags: flags of the training.
        workspace: of the store.

    Raises:
        UserError: for a checkpoint that can't be read or contradicts its flags.
    """
    forget_target()
    network = network_without_memory(UNet2DModel, flags.network, f"the network of {path.with_name(FLAG_FILE)}")
    state = from_authors(read_state_dict(path, f"{weights}_model"), flags, network, path)
    save(network, state, flags.scheduler, path, workspace)
    log.info("Converted %s of %s: %s.", weights, path, flags)


def convert_adm(path: Path, flags: ADMFlags, workspace: Path) -> None:
    """Write the pipeline of a checkpoint of guided-diffusion into the workspace.

    Args:
        path: the checkpoint.
        flags: flags of the training.
        workspace: of the store.

    Raises:
        UserError: for a checkpoint that can't be read or contradicts its flags.
    """
    forget_target()
    network = network_without_memory(UNet2DModel, flags.network, "the network of target.flags")
    state = from_adm(state_dict(read_pickled(path), path), flags, network, path)
    save(network, state, flags.scheduler, path, workspace)
    log.info("Converted %s: %s.", path, flags)


def save(
    network: UNet2DModel, state: dict[str, Tensor], scheduler: Mapping[str, Any], path: Path, workspace: Path
) -> None:
    """Write network and scheduler as a pipeline, once the weights are known to be finite.

    Args:
        network: without memory.
        state: state dict of the network.
        scheduler: arguments of `DDPMScheduler`.
        path: the checkpoint, for messages.
        workspace: of the store.

    Raises:
        UserError: for weights that are NaN or infinite.
    """
    refuse_non_finite_weights(state, path)
    network.load_state_dict(state, assign=True)
    DDPMPipeline(unet=network, scheduler=DDPMScheduler(**scheduler)).save_pretrained(workspace)
    log.info("%s holds %.2f M parameters.", path, network.num_parameters(exclude_embeddings=True) / 1e6)


def read_state_dict(path: Path, name: str) -> dict[str, Any]:
    """Read one of the state dicts in a checkpoint of the authors'.

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
