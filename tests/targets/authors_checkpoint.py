"""Weights in the format of the authors' pytorch-ddpm code, put into diffusers' U-Net for the golden test.

Their module list is flat: for each level the residual blocks, then a down-sampler but for the last; middle; then up.
"""

import re

import torch
from diffusers import UNet2DModel
from torch import Tensor


def small_network() -> UNet2DModel:
    """The network of the golden checkpoint: 32 channels × (1, 2), attention at level 1, one residual block."""
    return UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        downsample_padding=1,
        norm_eps=1e-5,
        freq_shift=0,
        flip_sin_to_cos=False,
    ).eval()


WITHIN = {
    r"block1\.0": "norm1",
    r"block1\.2": "conv1",
    r"temb_proj\.1": "time_emb_proj",
    r"block2\.0": "norm2",
    r"block2\.3": "conv2",
    r"shortcut": "conv_shortcut",
}
ATTENTION = {"group_norm": "group_norm", "proj_q": "to_q", "proj_k": "to_k", "proj_v": "to_v", "proj": "to_out.0"}


def converted(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict under diffusers' names."""
    blocks = {
        "downblocks.0": ("down_blocks.0", 0),
        "downblocks.2": ("down_blocks.1", 0),
        "middleblocks.0": ("mid_block", 0),
        "middleblocks.1": ("mid_block", 1),
        "upblocks.0": ("up_blocks.0", 0),
        "upblocks.1": ("up_blocks.0", 1),
        "upblocks.3": ("up_blocks.1", 0),
        "upblocks.4": ("up_blocks.1", 1),
    }
    plain = {
        "time_embedding.timembedding.1": "time_embedding.linear_1",
        "time_embedding.timembedding.3": "time_embedding.linear_2",
        "head": "conv_in",
        "tail.0": "conv_norm_out",
        "tail.2": "conv_out",
        "downblocks.1.main": "down_blocks.0.downsamplers.0.conv",
        "upblocks.2.main": "up_blocks.0.upsamplers.0.conv",
    }
    ours = {}
    for name, value in theirs.items():
        module, kind = name.removeprefix("module.").rsplit(".", 1)
        if module == "time_embedding.timembedding.0":  # the table of sines and cosines, which diffusers computes
            continue
        if module == "time_embedding.timembedding.1" and kind == "weight":
            value = torch.cat([value[:, 0::2], value[:, 1::2]], dim=1)  # theirs interleaves sine and cosine
        if module in plain:
            ours[f"{plain[module]}.{kind}"] = value
            continue
        match = re.fullmatch(r"(\w+\.\d+)\.(.+)", module)
        assert match, name
        block, index = blocks[match[1]]
        if match[2].startswith("attn."):
            part = ATTENTION[match[2].removeprefix("attn.")]
            ours[f"{block}.attentions.{index}.{part}.{kind}"] = value.flatten(1) if value.dim() == 4 else value
        else:
            part = next(ours_part for pattern, ours_part in WITHIN.items() if re.fullmatch(pattern, match[2]))
            ours[f"{block}.resnets.{index}.{part}.{kind}"] = value
    return ours
