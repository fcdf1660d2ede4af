"""Stable Diffusion in one file, in the layout of the original code, written from pipelines in diffusers' layout."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.tiny_pipelines import edited, save_stable_diffusion, save_stable_diffusion_xl

Family = Literal["1.x", "2.x", "XL"]

LAYERS = 1
"""In each level of the tiny pipelines' networks."""
LEVELS = 2

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0", "conv_out": "out.2", "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip


def of_unet(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The U-Net's weights under the original names, without their prefix."""
    attends = {match[1] for name in ours if (match := re.match(r"(up_blocks\.\d+)\.attentions", name))}

    def original(name: str) -> str:
        for diffusers_name, theirs in OUTSIDE.items():
            if name.startswith(f"{diffusers_name}."):
                return name.replace(diffusers_name, theirs)
        if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
            role, index, rest = match.groups()
            return f"middle_block.{2 * int(index) if role == 'resnets' else 1}.{rest}"
        match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)", name)
        assert match, name
        side, level, role, index, rest = match.groups()
        if side == "down":
            first = 1 + int(level) * (LAYERS + 1)
            if role == "downsamplers":
                return f"input_blocks.{first + LAYERS}.0.op.{rest.removeprefix('conv.')}"
            return f"input_blocks.{first + int(index)}.{0 if role == 'resnets' else 1}.{rest}"
        first = int(level) * (LAYERS + 1)
        if role == "upsamplers":
            return f"output_blocks.{first + LAYERS}.{2 if f'up_blocks.{level}' in attends else 1}.{rest}"
        return f"output_blocks.{first + int(index)}.{0 if role == 'resnets' else 1}.{rest}"

    found = {}
    for name, tensor in ours.items():
        theirs = original(name)
        if ".resnets." in name:
            for part, place in RESNET.items():
                theirs = re.sub(rf"\b{part}\b", place, theirs)
        found[theirs] = tensor
    return found


def of_autoencoder(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The autoencoder's weights under the original names; its attention is made of 1×1 convolutions there."""
    changes: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
        (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"up_blocks\.(\d)\.resnets", lambda match: f"up.{LEVELS - 1 - int(match[1])}.block"),
        (r"up_blocks\.(\d)\.upsamplers\.0", lambda match: f"up.{LEVELS - 1 - int(match[1])}.upsample"),
        (r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}"),
        (r"mid_block\.attentions\.0", "mid.attn_1"),
        (r"group_norm", "norm"), (r"to_([qkv])\b", r"\1"), (r"to_out\.0", "proj_out"),
        (r"conv_norm_out", "norm_out"), (r"conv_shortcut", "nin_shortcut"),
    ]  # fmt: skip
    found = {}
    for name, tensor in ours.items():
        linear = ".attentions." in name and tensor.dim() == 2
        for pattern, place in changes:
            name = re.sub(pattern, place, name)
        found[name] = tensor[:, :, None, None] if linear else tensor
    return found


def of_open_clip(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A text encoder's weights under OpenCLIP's names, whose attention has one matrix for queries, keys and values."""
    changes = {
        "embeddings.token_embedding": "token_embedding", "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm": "ln_final", "encoder.layers.": "transformer.resblocks.", "layer_norm1": "ln_1",
        "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn": "attn",
    }  # fmt: skip
    found: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        if re.search(r"\.[kv]_proj\.", name):
            continue
        if ".q_proj." in name:
            tensor = torch.cat([ours[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
        elif name == "text_projection.weight":
            name, tensor = "text_projection", tensor.T
        name = re.sub(r"q_proj\.(weight|bias)", r"in_proj_\1", name)
        for part, place in changes.items():
            name = name.replace(part, place)
        found[name] = tensor
    return found


def weights_of(folder: Path) -> dict[str, Tensor]:
    (file,) = folder.glob("*.safetensors")
    return {name.removeprefix("text_model."): tensor for name, tensor in load_file(file).items()}


def original_weights(pipeline: Path, family: Family) -> dict[str, Tensor]:
    """All weights of a pipeline under the original names."""
    unet = of_unet(weights_of(pipeline / "unet"))
    parts = {"model.diffusion_model.": unet, "first_stage_model.": of_autoencoder(weights_of(pipeline / "vae"))}
    text = weights_of(pipeline / "text_encoder")
    constant = {"embeddings.position_ids": torch.arange(16)[None]}  # of old versions of transformers
    match family:
        case "1.x":
            parts["cond_stage_model.transformer.text_model."] = text | constant
        case "2.x":
            parts["cond_stage_model.model."] = of_open_clip(text) | {"logit_scale": torch.ones(())}
        case "XL":
            parts["conditioner.embedders.0.transformer.text_model."] = text
            parts["conditioner.embedders.1.model."] = of_open_clip(weights_of(pipeline / "text_encoder_2"))
    schedule = {"alphas_cumprod": torch.ones(1000), "model_ema.decay": torch.ones(())}  # never read
    return schedule | {prefix + name: tensor for prefix, own in parts.items() for name, tensor in own.items()}


def with_averages(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """These weights as the averages, and others as those that were trained last."""
    found = dict(weights)
    for name, tensor in weights.items():
        if name.startswith("model.diffusion_model."):
            found["model_ema." + name.removeprefix("model.").replace(".", "")] = tensor
            found[name] = tensor + 1
    return found


def save(weights: Mapping[str, Tensor], file: Path) -> Path:
    """As a file of safetensors, or of `torch.save` as Lightning writes it."""
    if file.suffix == ".safetensors":
        save_file({name: tensor.contiguous().clone() for name, tensor in weights.items()}, file)
    else:
        torch.save({"epoch": 6, "state_dict": dict(weights)}, file)
    return file


def save_pipeline(folder: Path, family: Family, **scheduler: Any) -> Path:
    """A tiny pipeline of this version."""
    if family == "XL":
        return save_stable_diffusion_xl(folder, second_width=16)
    save_stable_diffusion(folder, **scheduler)
    if family == "2.x":
        edited(folder / "scheduler/scheduler_config.json", prediction_type="v_prediction")
    return folder
