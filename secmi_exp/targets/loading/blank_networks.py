"""Networks without memory: built on the meta device by their description, compared with the weights, evaluated once.

So a description that needs too much memory is refused before anything is allocated, and a network that can't be
evaluated before anything is computed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from secmi_exp.errors import UserError
from secmi_exp.targets.loading.settings_files import reason, root, unreadable
from secmi_exp.targets.loading.weight_files import SAFETENSORS
from secmi_exp.targets.loading.weights import read_pickled

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a tensor → its shape."""


def network_without_memory(kind: Any, config: Mapping[str, Any], what: str, *, shared: bool = False) -> Any:
    """Build a network on the meta device, in evaluation mode.

    Args:
        kind: class of the network, of diffusers or transformers.
        config: configuration of the network.
        what: name of the network, for the message.
        shared: whether it may be one that others have, too, and that nobody changes.

    Raises:
        UserError: where the library refuses the description.
    """
    try:
        return _shared(kind, json.dumps(dict(config), sort_keys=True)) if shared else _build(kind, config)
    except Exception as error:  # whatever its layers raise for arguments that they can't take
        raise UserError(f"{library_name(kind)} refuses {what}: {reason(root(error))}.") from error


def _build(kind: Any, config: Mapping[str, Any]) -> Any:
    with torch.device("meta"):
        if described := getattr(kind, "config_class", None):  # a class of transformers
            return kind(described.from_dict(dict(config))).eval()
        return kind.from_config(dict(config)).eval()


@lru_cache(maxsize=32)
def _shared(kind: Any, config: str) -> Any:
    return _build(kind, json.loads(config))


def library_name(kind: type) -> str:
    """Return the library of a network's class."""
    return kind.__module__.partition(".")[0]


def stored_shapes(files: Sequence[Path]) -> Shapes:
    """Read the shapes of the tensors in files of weights; of safetensors only the headers are read.

    A tensor in a pickle may claim more elements than are stored for it; then the stored ones count.

    Raises:
        UserError: for a file that can't be read, or that holds something else than tensors by their names.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        if file.suffix == SAFETENSORS:
            try:
                with safe_open(file, framework="pt") as content:
                    shapes |= {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118
            except Exception as error:  # safetensors names no single exception for a broken file
                raise unreadable(file, error) from error
        else:
            shapes |= tensor_shapes(read_pickled(file), file)
    return shapes


def tensor_shapes(content: object, file: Path) -> Shapes:
    """Return the shapes of the tensors in a state dict; see `stored_shapes`.

    Raises:
        UserError: for anything but dense tensors by their names.
    """
    if not isinstance(content, dict):
        raise UserError(f"{file} holds a {type(content).__name__} instead of weights: is it the right file?")
    shapes = {}
    for name, tensor in content.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise UserError(
                f"{file} holds {str(name)!r}, which is no dense tensor but a {type(tensor).__name__}: save the weights "
                "as a plain state dict or as safetensors."
            )
        stored = tensor.untyped_storage().nbytes() // tensor.element_size()
        shapes[str(name)] = tuple(tensor.shape) if tensor.numel() <= stored else (stored,)
    return shapes


def refuse_other_weights(network: Any, stored: Shapes, weights: Path, config: Path) -> None:
    """Refuse a network with more parameters than its weights have, before memory is allocated.

    Args:
        network: on the meta device.
        stored: shapes of its weights; see `stored_shapes`.
        weights: file of the weights, for the message.
        config: file of the description, for the message.

    Raises:
        UserError: naming a tensor that is missing or of another shape, or both numbers of parameters.
    """
    needed = sum(parameter.numel() for parameter in network.parameters())
    held = sum(map(math.prod, stored.values()))
    if needed <= held:
        return
    contradiction = f"The weights in {weights} contradict the {config.name} beside them"
    advice = f"put the {config.name} of the same network there"
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    differing = [name for name, shape in own.items() if name in stored and stored[name] != shape]
    missing = [name for name in own if name not in stored]
    if differing:
        name = differing[0]
        raise UserError(f"{contradiction}: {name} has the shapes {[*stored[name]]} and {[*own[name]]}; {advice}.")
    if len(missing) < len(own):
        raise UserError(f"{contradiction}: {missing[0]} is missing; {advice}.")
    raise UserError(f"{contradiction}: it describes {needed:,} parameters, and they are {held:,}; {advice}.")


def refuse_differing(found: Shapes, expected: Shapes, what: str, advice: str) -> None:
    """Refuse weights that aren't exactly those of a network.

    Args:
        found: shapes of the weights.
        expected: shapes of the network's own.
        what: names the weights and what they are compared with, for the message.
        advice: end of the message.

    Raises:
        UserError: counting the tensors that are missing, superfluous or of another shape, and naming the first of
            each.

    >>> refuse_differing({"a": (2,)}, {"a": (3,), "b": (1,)}, "They don't fit", "take others")
    Traceback (most recent call last):
    secmi_exp.errors.UserError: They don't fit: 1 of 2 tensors is missing (b), 1 is of another shape (a: [2] in \
place of [3]); take others.
    """
    missing = [name for name in expected if name not in found]
    superfluous = [name for name in found if name not in expected]
    other = [name for name in expected if name in found and found[name] != expected[name]]
    faults = []
    for names, more, fault in (
        (missing, f" of {len(expected)} tensors", "missing"),
        (superfluous, "", "superfluous"),
        (other, "", "of another shape"),
    ):
        if names:
            name = names[0]
            first = f"{name}: {[*found[name]]} in place of {[*expected[name]]}" if names is other else name
            faults.append(f"{len(names)}{more} {'is' if len(names) == 1 else 'are'} {fault} ({first})")
    if faults:
        raise UserError(f"{what}: {', '.join(faults)}; {advice}.")


def try_network(kind: type, config: Mapping[str, Any], what: str) -> None:
    """Evaluate a network once on the meta device, on one sample of the smallest size.

    Args:
        kind: see `network_without_memory`.
        config: see `network_without_memory`.
        what: see `network_without_memory`.

    Raises:
        UserError: where it fails, or its output has another shape than noise, latents or an embedding.
    """
    if kind.__name__ in TRIALS and (fault := _fault(kind, json.dumps(dict(config), sort_keys=True))):
        raise UserError(
            f"{library_name(kind)} can't evaluate {what} ({fault}): put the description of its training there."
        )


@lru_cache(maxsize=256)
def _fault(kind: type, config: str) -> str | None:
    """Return what goes wrong in one evaluation of a network with this description, in JSON; None: nothing."""
    network = network_without_memory(kind, json.loads(config), "a network", shared=True)
    try:
        with torch.device("meta"), torch.inference_mode():
            given, expected = TRIALS[kind.__name__](network)
    except Exception as error:  # whatever its layers raise for sizes that don't fit
        return reason(root(error))
    if tuple(given.shape) != expected:
        return f"its output has the shape {list(given.shape)} instead of {list(expected)}"
    return None


Trial = tuple[Tensor, tuple[int, ...]]
"""A network's output, and the shape that it should have."""


def _unconditional(network: Any) -> Trial:
    config = network.config
    side = 2 ** len(config.block_out_channels)
    times = torch.zeros(1, dtype=torch.long)
    labels = {"class_labels": times} if config.num_class_embeds else {}
    output = network(torch.empty(1, config.in_channels, side, side), times, **labels).sample
    return output, (1, config.out_channels, side, side)


def _dit(network: Any) -> Trial:
    config, side = network.config, 2 * network.config.patch_size
    times = torch.zeros(1, dtype=torch.long)
    output = network(torch.empty(1, config.in_channels, side, side), times, class_labels=times).sample
    return output, (1, config.out_channels or config.in_channels, side, side)


def _text_conditioned(network: Any) -> Trial:
    config = network.config
    side, width = 2 ** len(config.block_out_channels), config.cross_attention_dim
    text = torch.empty(1, 4, width[0] if isinstance(width, list | tuple) else width)
    added = None
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        added = {"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, 6)}
    states, times = torch.empty(1, config.in_channels, side, side), torch.zeros(1, dtype=torch.long)
    output = network(states, times, encoder_hidden_states=text, added_cond_kwargs=added).sample
    return output, (1, config.out_channels, side, side)


def _sd3(network: Any) -> Trial:
    config, times = network.config, torch.zeros(1)
    side = 2 * config.patch_size
    text, pooled = torch.empty(1, 4, config.joint_attention_dim), torch.empty(1, config.pooled_projection_dim)
    output = network(torch.empty(1, config.in_channels, side, side), text, pooled, times).sample
    return output, (1, config.out_channels or config.in_channels, side, side)


def _flux(network: Any) -> Trial:
    config, times = network.config, torch.zeros(1)
    text, pooled = torch.empty(1, 4, config.joint_attention_dim), torch.empty(1, config.pooled_projection_dim)
    guidance = times if config.guidance_embeds else None
    latents, places = torch.empty(1, 4, config.in_channels), torch.zeros(4, 3)
    output = network(latents, text, pooled, times, img_ids=places, txt_ids=places, guidance=guidance).sample
    return output, (1, 4, config.out_channels or config.in_channels)


def _pixart(network: Any) -> Trial:
    config, side = network.config, 2 * network.config.patch_size
    text = torch.empty(1, 4, config.caption_channels or config.cross_attention_dim)
    added = {"resolution": torch.empty(1, 2), "aspect_ratio": torch.empty(1, 1)}
    states, times = torch.empty(1, config.in_channels, side, side), torch.zeros(1, dtype=torch.long)
    output = network(states, text, times, added, encoder_attention_mask=torch.ones(1, 4)).sample
    return output, (1, config.out_channels or config.in_channels, side, side)


def _autoencoder(network: Any) -> Trial:
    config = network.config
    unit = 2 ** (len(config.block_out_channels) - 1)
    mean = network.encode(torch.empty(1, config.in_channels, 2 * unit, 2 * unit)).latent_dist.mean
    return mean, (1, config.latent_channels, 2, 2)


def _vector_quantizer(network: Any) -> Trial:
    config = network.config
    unit = 2 ** (len(config.block_out_channels) - 1)
    latents = network.encode(torch.empty(1, config.in_channels, 2 * unit, 2 * unit)).latents
    return latents, (1, config.vq_embed_dim or config.latent_channels, 2, 2)


def _text_encoder(network: Any) -> Trial:
    tokens = min(getattr(network.config, "max_position_embeddings", 4), 4)
    output = network(input_ids=torch.zeros(1, tokens, dtype=torch.long))
    return output.last_hidden_state, (1, tokens, network.config.hidden_size)


TRIALS = {
    "UNet2DModel": _unconditional,
    "DiTTransformer2DModel": _dit,
    "UNet2DConditionModel": _text_conditioned,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
    "PixArtTransformer2DModel": _pixart,
    "AutoencoderKL": _autoencoder,
    "VQModel": _vector_quantizer,
    "CLIPTextModel": _text_encoder,
    "CLIPTextModelWithProjection": _text_encoder,
    "T5EncoderModel": _text_encoder,
}
"""Class of a network → one evaluation of it."""
