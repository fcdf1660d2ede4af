"""Adds a low-rank adapter to a network's weights: W + scale · (alpha / r) · up · down, r being the rank.

Source: Hu et al., "LoRA" (ICLR 2022), section 4.1. Names are mapped by diffusers. The products are added here, where
each tensor of the file must have its place: the loaders of diffusers and peft pass over what doesn't fit, take one
alpha for modules whose alphas differ, and build whatever the file's metadata describe.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from secmi_exp.errors import UserError
from secmi_exp.targets.loading.json_fields import JsonObject, checked
from secmi_exp.targets.loading.settings_files import reason, root, unreadable
from secmi_exp.targets.loading.weights import refuse_non_finite_weights
from secmi_exp.targets.text_to_image.lora_file import ALPHA, DOWN, UP, LoRAFile, is_down, is_up

METADATA = "lora_adapter_metadata"
"""Key in the header of diffusers' files, under which peft's settings lie in JSON."""
WRAPPER = "text_model."
"""Prefix in text encoders of older versions of transformers."""

Alpha = Annotated[float, Field(gt=0, le=1e6)]


class PeftSettings(JsonObject):
    """Settings of one network's adapter that decide its scale."""

    lora_alpha: Annotated[Alpha | None, Field(description="a number above 0, or null")] = None
    alpha_pattern: Annotated[
        dict[Annotated[str, Field(pattern=r"^\^?[\w.]+$", max_length=256)], Alpha],
        Field(description="an object of modules' names with numbers above 0"),
    ] = Field({})
    use_rslora: Annotated[bool, Field(description="true or false")] = False


@dataclass(frozen=True)
class Pair:
    """What is added to one weight, in the order in which it is multiplied."""

    up: Tensor
    """[out, r], with trailing dimensions of 1 for a convolution."""
    down: Tensor
    """[r, in …]."""
    factor: float
    """alpha / r."""

    @property
    def product(self) -> Tensor:
        """(alpha / r) · up · down, of the weight's shape."""
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return self.factor * product.reshape(self.up.shape[0], *self.down.shape[1:])


@torch.no_grad()
def fuse(network: Any, part: str, lora: LoRAFile, layers_per_block: object) -> None:
    """Add the adapter to the weights.

    Args:
        network: the network, with its weights.
        part: see `pairs_of`.
        lora: see `pairs_of`.
        layers_per_block: see `pairs_of`.

    Raises:
        UserError: see `pairs_of`.
    """
    pairs = pairs_of(network, part, lora, layers_per_block)
    for name, weight in network.named_parameters():
        if name in pairs:
            weight.add_(pairs[name].product.to(weight), alpha=lora.scale)


def pairs_of(network: Any, part: str, lora: LoRAFile, layers_per_block: object) -> dict[str, Pair]:
    """Read the pairs of one network, by the name of the weight that each changes.

    Args:
        network: the network, which may have no memory.
        part: of the pipeline.
        lora: the adapter.
        layers_per_block: of the pipeline's U-Net, which Kohya's numbering of SDXL's blocks depends on.

    Raises:
        UserError: for a file that can't be read, and tensors that match nothing in the network, counting and naming
            them.
    """
    try:
        tensors = load_file(lora.path)
        with safe_open(lora.path, framework="pt") as content:
            metadata = json.loads((content.metadata() or {}).get(METADATA, "{}"))
    except Exception as error:  # safetensors names no single exception for a broken file
        raise unreadable(lora.path, error) from error
    refuse_non_finite_weights(tensors, lora.path)
    settings = settings_of(metadata, part, lora.path)
    scaled = with_alphas(tensors, lora.path)
    try:
        state, _ = StableDiffusionLoraLoaderMixin.lora_state_dict(
            dict(scaled), unet_config=SimpleNamespace(layers_per_block=layers_per_block)
        )
    except Exception as error:  # whatever diffusers raises for names that it doesn't know
        raise UserError(
            f"diffusers can't map the names in target.lora={lora.path} to a pipeline's ({reason(root(error))}): was it "
            "trained on another model?"
        ) from error
    if len(state) != len(scaled):
        raise UserError(
            f"diffusers maps {len(state)} of the {len(scaled)} matrices in target.lora={lora.path} to a pipeline's "
            "networks: was it trained on another model?"
        )
    own = {name.removeprefix(f"{part}."): each for name, each in state.items() if name.startswith(f"{part}.")}
    return _matched(own, network, part, settings, lora.path)


def with_alphas(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Multiply each first matrix by its alpha / r, where the file has alphas, and leave them out.

    Raises:
        UserError: for an alpha that is no number, or that has no pair.
    """
    scaled = {name: tensor for name, tensor in tensors.items() if not name.endswith(ALPHA)}
    for name, alpha in tensors.items():
        if name.endswith(ALPHA):
            down = f"{name.removesuffix(ALPHA)}.lora_down.weight"
            if alpha.numel() != 1 or down not in scaled or scaled[down].dim() < 2 or not scaled[down].numel():
                raise UserError(f"{name} in target.lora={path} is no single number with a pair of matrices: repair it.")
            scaled[down] = scaled[down].float() * (float(alpha) / scaled[down].shape[0])
    return scaled


def settings_of(metadata: object, part: str, path: Path) -> PeftSettings:
    """Return what peft's settings say of one network.

    Args:
        metadata: names that begin with the part → values; empty where the file has none.
        part: of the pipeline.
        path: the file, for the message.

    Raises:
        UserError: for settings that no adapter can have.
    """
    if not isinstance(metadata, dict):
        raise UserError(f"The {METADATA} in target.lora={path} are a {type(metadata).__name__} in place of settings.")
    own = {
        str(name).removeprefix(f"{part}."): value
        for name, value in metadata.items()
        if str(name).startswith(f"{part}.")
    }
    return checked(PeftSettings, own, f"The {METADATA} of the {part} in target.lora={path}")


def _matched(own: Mapping[str, Tensor], network: Any, part: str, settings: PeftSettings, path: Path) -> dict[str, Pair]:
    """Find the weight of each pair; see `pairs_of`."""
    shapes = {name.removeprefix(WRAPPER): tuple(each.shape) for name, each in network.named_parameters()}
    full = {name.removeprefix(WRAPPER): name for name, _ in network.named_parameters()}
    downs, ups = ({weight_of(name): each for name, each in own.items() if of(name)} for of in (is_down, is_up))
    unmatched = [name for name in {**downs, **ups} if not _fits(downs.get(name), ups.get(name), shapes.get(name))]
    if unmatched:
        name = unmatched[0]
        there = f"[{', '.join(map(str, shapes[name]))}] there" if name in shapes else "not there"
        sizes = " and ".join(str([*each[name].shape]) for each in (downs, ups) if name in each)
        raise UserError(
            f"{len(unmatched)} of {len({**downs, **ups})} pairs of matrices in target.lora={path} don't fit the "
            f"pipeline's {part}, the first for {name} (matrices {sizes}; the weight is {there}): it was trained on "
            "another model."
        )
    return {full[name]: Pair(ups[name], down, _factor(name, down, settings)) for name, down in downs.items()}


def weight_of(matrix: str) -> str:
    """Return the name of the weight that a matrix is for, in the names of today's networks.

    Older versions of diffusers named the layers of attention by its processors.

    >>> weight_of("down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.down.weight")
    'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.weight'
    >>> weight_of("text_model.encoder.layers.0.self_attn.to_q_lora.up.weight")
    'encoder.layers.0.self_attn.q_proj.weight'
    >>> weight_of("encoder.layers.0.mlp.fc1.lora_A.weight")
    'encoder.layers.0.mlp.fc1.weight'
    """
    name = matrix.removeprefix(WRAPPER).replace(".processor.", ".")
    if ".self_attn." in name:  # of a text encoder
        name = re.sub(r"\.to_(q|k|v|out)_lora\.", r".\1_proj_lora.", name)
    name = name.replace(".to_out_lora.", ".to_out.0_lora.")
    end = DOWN.search(name) or UP.search(name)
    return f"{name[: end.start()] if end else name}.weight"


def _fits(down: Tensor | None, up: Tensor | None, weight: tuple[int, ...] | None) -> bool:
    if down is None or up is None or weight is None or min(down.dim(), up.dim()) < 2 or not down.numel():
        return False
    return (up.shape[0], *down.shape[1:]) == weight and up.shape[1] == down.shape[0] and set(up.shape[2:]) <= {1}


def _factor(name: str, down: Tensor, settings: PeftSettings) -> float:
    """Return alpha / r, or alpha / √r where peft's settings say so; 1 without settings."""
    module = name.removesuffix(".weight")
    named = [alpha for key, alpha in settings.alpha_pattern.items() if _ends(module, key)]
    alpha = named[0] if named else settings.lora_alpha
    rank = down.shape[0]
    return 1.0 if alpha is None else alpha / (math.sqrt(rank) if settings.use_rslora else rank)


def _ends(module: str, pattern: str) -> bool:
    """Whether a module is meant by a name in peft's pattern, which is its end or, after ``^``, all of it."""
    name = pattern.removeprefix("^").removeprefix(WRAPPER)
    return module == name or (not pattern.startswith("^") and module.endswith(f".{name}"))
