"""Converts Stable Diffusion in one file into a pipeline in diffusers' layout.

The names are mapped by the functions of diffusers' `from_single_file`. They are called one by one, since that loader
fetches and unpickles by itself, and leaves out what doesn't fit.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from secmi_exp.engine.kept_target import forget_target
from secmi_exp.errors import UserError
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.loading.blank_networks import (
    network_without_memory,
    refuse_differing,
    tensor_shapes,
)
from secmi_exp.targets.loading.file_kind import ORIGINAL_UNET
from secmi_exp.targets.loading.latent_folder import library_of
from secmi_exp.targets.loading.libraries import network_class
from secmi_exp.targets.loading.model_folder import CONFIG, without_origin
from secmi_exp.targets.loading.settings_files import reason, root, unreadable
from secmi_exp.targets.loading.tensor_headers import TYPES, state_dict
from secmi_exp.targets.loading.weight_files import SAFETENSORS, STEMS
from secmi_exp.targets.loading.weights import read_pickled, refuse_non_finite_weights
from secmi_exp.targets.text_to_image.one_file_format import AUTOENCODER, averaged_name

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]

OPEN_CLIP = ".model."
"""End of the prefix of a text encoder from OpenCLIP; that of OpenAI's ends in ``.transformer.``."""
WRAPPER = "text_model."
"""Prefix in saved weights of text encoders, which networks of newer transformers don't have."""
READ = {"unet": ("",), "vae": ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")}
"""Part → beginnings of the names of its weights, which the conversion maps one to one."""
CONSTANT = "embeddings.position_ids"
"""Numbers 0, 1, 2 …, saved by older versions of transformers."""


def convert(
    path: Path, text_encoders: Mapping[str, str], averaged: bool, described: StableDiffusionFolder, workspace: Path
) -> None:
    """Write the pipeline into the workspace, once all of its parts are known to fit.

    Args:
        path: the file.
        text_encoders: part of the pipeline → prefix of its weights.
        averaged: whether the averaged weights of the U-Net are read.
        described: the pipeline with descriptions, tokenizers and schedule.
        workspace: of the store.

    Raises:
        UserError: for a file that can't be read, or whose weights aren't those of the described networks.
    """
    described.refuse_unusable_descriptions()
    prefixes = {"unet": ORIGINAL_UNET, "vae": AUTOENCODER, **text_encoders}
    forget_target()
    content = read_weights(path)
    if averaged:
        content |= {name: average_of(name, content, path) for name in content if name.startswith(ORIGINAL_UNET)}
    parts = {part: convert_part(part, prefix, content, described, path) for part, prefix in prefixes.items()}
    for part, weights in parts.items():
        library = library_of(part)
        folder = workspace / part
        folder.mkdir(exist_ok=True)
        (folder / CONFIG).write_bytes(without_origin(described.model(part).path / CONFIG))
        save_file(weights, folder / f"{STEMS[library][SAFETENSORS]}{SAFETENSORS}", metadata={"format": "pt"})
    described.copy_descriptions(workspace)
    log.info("Converted %s into a %s.", path, described.kind)


def read_weights(path: Path) -> dict[str, Any]:
    """Read the tensors of a file.

    Raises:
        UserError: for a file that can't be read, or that could execute code.
    """
    if path.suffix != SAFETENSORS:
        return {str(name): tensor for name, tensor in state_dict(read_pickled(path), path).items()}
    try:
        return dict(load_file(path))
    except Exception as error:  # safetensors names no single exception for a broken file
        raise unreadable(path, error) from error


def average_of(name: str, content: Mapping[str, Any], path: Path) -> Any:
    """Return the average of one of the U-Net's weights.

    Raises:
        UserError: where it isn't there.
    """
    if averaged_name(name) not in content:
        raise UserError(
            f"{path} has averaged weights of the U-Net, but none of {name}: set target.weights=net for the last ones."
        )
    return content[averaged_name(name)]


def convert_part(
    part: str, prefix: str, content: Mapping[str, Any], described: StableDiffusionFolder, path: Path
) -> Weights:
    """Return the weights of one part under the names that diffusers or transformers saves them with.

    Args:
        part: such as ``unet``.
        prefix: of its weights in the file.
        content: of the file.
        described: the pipeline with the descriptions.
        path: the file, for messages.

    Raises:
        UserError: for weights that aren't those of the described network, counting and naming them.
    """
    own = {name: tensor for name, tensor in content.items() if name.startswith(prefix)}
    tensor_shapes(own, path)
    file = described.model(part).path / CONFIG
    kind = network_class(library_of(part), described.parts[part][0])
    network = network_without_memory(kind, described.model(part).config, f"the network of {file}")
    try:
        weights = renamed(part, prefix, own, network)
    except Exception as error:  # whatever the conversion raises for weights of another network
        raise UserError(
            f"The {part} in {path} can't be converted to the network of {file} ({reason(root(error))}): set "
            "target.config to a pipeline of the same kind."
        ) from error
    what = f"The weights of the {part} in {path} ({prefix}…) contradict {file}"
    refuse_differing(
        {name.removeprefix(WRAPPER): shape for name, shape in tensor_shapes(weights, path).items()},
        {name.removeprefix(WRAPPER): tuple(tensor.shape) for name, tensor in network.state_dict().items()},
        what,
        "set target.config to a pipeline of the same kind, or take a checkpoint with all parts",
    )
    for name, tensor in weights.items():
        if str(tensor.dtype).removeprefix("torch.") not in TYPES.values():
            raise UserError(
                f"{path} holds the {part}'s {name} as {tensor.dtype}: take a checkpoint that isn't quantized."
            )
    if part in READ:
        there = sum(name.removeprefix(prefix).startswith(READ[part]) for name in own)
        if there != len(weights):  # the conversion passes over what the description has no place for
            raise UserError(f"{what}: they are {there} tensors in place of {len(weights)}.")
    refuse_non_finite_weights(weights, path)
    return {name: tensor.contiguous().clone() for name, tensor in weights.items()}


def renamed(part: str, prefix: str, own: Weights, network: Any) -> Weights:
    """Map the names of one part's weights by diffusers' functions.

    Args:
        part: see `convert_part`.
        prefix: see `convert_part`.
        own: its weights in the file.
        network: without memory.
    """
    if part == "unet":
        converted: Weights = convert_ldm_unet_checkpoint(own, network.config)
        return converted
    if part == "vae":
        converted = convert_ldm_vae_checkpoint(own, network.config)
        return converted
    if prefix.endswith(OPEN_CLIP):
        converted = convert_open_clip_checkpoint(network, own, prefix=prefix)
    else:
        converted = convert_ldm_clip_checkpoint(own)
    plain = {name.removeprefix(WRAPPER): tensor for name, tensor in converted.items()}
    plain.pop(CONSTANT, None)
    outside = ("text_projection.",)
    return {name if name.startswith(outside) else f"{WRAPPER}{name}": tensor for name, tensor in plain.items()}
