"""The format of the authors' pytorch-ddpm code: its flag file, and its weights under diffusers' names.

Their U-Net is a flat list of modules: for each level the residual blocks, then a down-sampler but for the last level;
two blocks in the middle, the first with attention; then the levels back, with one residual block more each.
Source: https://github.com/jinhaoduan/SecMI, after https://github.com/w86763777/pytorch-ddpm (names and shapes alone).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from torch import Tensor

from secmi_exp.errors import UserError

FLAG_FILE = "flagfile.txt"

TIME_TABLE = "time_embedding.timembedding.0.weight"
"""Sines and cosines of every timestep, which diffusers computes instead."""


@checked_dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Flags:
    """The flags that decide network and schedule, with the authors' defaults."""

    T: PositiveInt = 1000
    beta_1: PositiveFloat = 1e-4
    beta_T: PositiveFloat = 0.02
    ch: PositiveInt = 128
    ch_mult: tuple[PositiveInt, ...] = (1, 2, 2, 2)
    attn: tuple[NonNegativeInt, ...] = (1,)
    """Levels with attention."""
    num_res_blocks: PositiveInt = 2
    dropout: float = 0.1
    img_size: PositiveInt = 32
    mean_type: Literal["epsilon", "xstart"] = "epsilon"

    @property
    def network(self) -> dict[str, Any]:
        """Arguments of diffusers' `UNet2DModel`."""
        levels = range(len(self.ch_mult))
        attention = [level in self.attn for level in levels]
        return {
            "sample_size": self.img_size,
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": tuple(self.ch * multiplier for multiplier in self.ch_mult),
            "layers_per_block": self.num_res_blocks,
            "down_block_types": tuple("AttnDownBlock2D" if attention[level] else "DownBlock2D" for level in levels),
            "up_block_types": tuple("AttnUpBlock2D" if attention[level] else "UpBlock2D" for level in reversed(levels)),
            "attention_head_dim": None,  # one head
            "downsample_padding": 1,
            "norm_num_groups": 32,
            "norm_eps": 1e-5,
            "freq_shift": 0,
            "flip_sin_to_cos": False,
            "dropout": self.dropout,
        }

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of diffusers' `DDPMScheduler`."""
        return {
            "num_train_timesteps": self.T,
            "beta_start": self.beta_1,
            "beta_end": self.beta_T,
            "beta_schedule": "linear",
            "prediction_type": {"epsilon": "epsilon", "xstart": "sample"}[self.mean_type],
        }


LISTS = ("ch_mult", "attn")


def read_flags(path: Path) -> Flags:
    """Read a flag file of absl's: a flag a line, ``--name=value``; a list repeats its flag.

    Raises:
        UserError: for a file that isn't there, lines that are no flags, and values that the code doesn't know.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The checkpoint's flags can't be read ({error}): put its {FLAG_FILE} beside it.") from error
    given: dict[str, Any] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        name, _, value = line.removeprefix("--").partition("=")
        if not line or line.startswith(("#", "//")):
            continue
        if not line.startswith("--") or not name.isidentifier() or name == "flagfile":
            raise UserError(f"Line {number} of {path}, {line!r}, is no flag of the form --name=value.")
        if name in LISTS:
            given.setdefault(name, []).append(value)
        else:
            given[name] = value
    try:
        flags = TypeAdapter(Flags).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"The flag --{'.'.join(map(str, first['loc']))}={first['input']} of {path} can't be used: {first['msg']}."
        ) from error

    if flags.ch_mult[0] != 1:
        raise UserError(
            f"The flags of {path} start with --ch_mult={flags.ch_mult[0]}: diffusers' U-Net has as many channels in "
            "its first level as in its first convolution, so only those that start with --ch_mult=1 can be converted."
        )
    return flags


@dataclass(frozen=True)
class Correspondence:
    """One tensor under both names."""

    theirs: str
    ours: str
    layout: Literal["same", "pointwise", "interleaved"] = "same"
    """pointwise: a 1×1 convolution of theirs is a linear layer of ours; interleaved: the time embedding's columns
    alternate between sine and cosine in theirs, and come as all sines, then all cosines in ours."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Their tensor as ours."""
        if self.layout == "pointwise":
            return tensor.flatten(1)
        if self.layout == "interleaved":
            return torch.cat([tensor[:, 0::2], tensor[:, 1::2]], dim=1)
        return tensor

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Our tensor as theirs."""
        if self.layout == "pointwise":
            return tensor[:, :, None, None]
        if self.layout == "interleaved":
            return torch.stack(tensor.chunk(2, dim=1), dim=2).flatten(1)
        return tensor


def correspondences(flags: Flags, ours: Mapping[str, Tensor]) -> list[Correspondence]:
    """Every tensor of a network.

    Args:
        flags: of the network.
        ours: state dict of the `UNet2DModel` of these flags; says where residual blocks have shortcuts.
    """
    pairs = [
        Correspondence(f"{theirs}.{kind}", f"{ours_}.{kind}", layout if kind == "weight" else "same")
        for theirs, ours_, layout in _modules(flags)
        for kind in ("weight", "bias")
    ]
    return [pair for pair in pairs if pair.ours in ours or not pair.ours.endswith(SHORTCUT)]


SHORTCUT = ("conv_shortcut.weight", "conv_shortcut.bias")
"""Only where a residual block changes the number of channels."""

RESIDUAL = {
    "block1.0": "norm1",
    "block1.2": "conv1",
    "temb_proj.1": "time_emb_proj",
    "block2.0": "norm2",
    "block2.3": "conv2",
    "shortcut": "conv_shortcut",
}
ATTENTION = {"proj_q": "to_q", "proj_k": "to_k", "proj_v": "to_v", "proj": "to_out.0"}

Module = tuple[str, str, Literal["same", "pointwise", "interleaved"]]


def _residual_block(theirs: str, ours: str, index: int, attention: bool) -> Iterator[Module]:
    for their_part, our_part in RESIDUAL.items():
        yield f"{theirs}.{their_part}", f"{ours}.resnets.{index}.{our_part}", "same"
    if attention:
        yield f"{theirs}.attn.group_norm", f"{ours}.attentions.{index}.group_norm", "same"
        for their_part, our_part in ATTENTION.items():
            yield f"{theirs}.attn.{their_part}", f"{ours}.attentions.{index}.{our_part}", "pointwise"


def _modules(flags: Flags) -> Iterator[Module]:
    """Their module, ours, and the layout of its weight."""
    levels = range(len(flags.ch_mult))
    yield "time_embedding.timembedding.1", "time_embedding.linear_1", "interleaved"
    yield "time_embedding.timembedding.3", "time_embedding.linear_2", "same"
    yield "head", "conv_in", "same"
    place = 0
    for level in levels:
        for index in range(flags.num_res_blocks):
            yield from _residual_block(f"downblocks.{place}", f"down_blocks.{level}", index, level in flags.attn)
            place += 1
        if level != levels[-1]:
            yield f"downblocks.{place}.main", f"down_blocks.{level}.downsamplers.0.conv", "same"
            place += 1
    yield from _residual_block("middleblocks.0", "mid_block", 0, attention=True)
    yield from _residual_block("middleblocks.1", "mid_block", 1, attention=False)
    place = 0
    for step, level in enumerate(reversed(levels)):
        for index in range(flags.num_res_blocks + 1):
            yield from _residual_block(f"upblocks.{place}", f"up_blocks.{step}", index, level in flags.attn)
            place += 1
        if level != 0:
            yield f"upblocks.{place}.main", f"up_blocks.{step}.upsamplers.0.conv", "same"
            place += 1
    yield "tail.0", "conv_norm_out", "same"
    yield "tail.2", "conv_out", "same"


def time_table(flags: Flags) -> Tensor:
    """Sines and cosines of each timestep, interleaved. [T, ch]."""
    frequencies = torch.exp(torch.arange(0, flags.ch, 2) / flags.ch * -math.log(10000.0))
    angles = torch.arange(flags.T).float()[:, None] * frequencies[None]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def from_authors(theirs: Mapping[str, Tensor], flags: Flags, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights as a state dict of diffusers' network.

    Args:
        theirs: one of a checkpoint's state dicts, with or without the prefix ``module.`` of data-parallel training.
        flags: of the checkpoint.
        ours: state dict of the `UNet2DModel` of these flags, for names and shapes.

    Raises:
        UserError: naming the first tensor that is missing, superfluous or of another shape than the flags say.
    """
    theirs = {name.removeprefix("module."): tensor for name, tensor in theirs.items()}
    pairs = correspondences(flags, ours)
    shapes = {pair.theirs: tuple(pair.to_theirs(ours[pair.ours]).shape) for pair in pairs}
    shapes[TIME_TABLE] = (flags.T, flags.ch)
    asked = (
        f"its flags (T={flags.T}, ch={flags.ch}, ch_mult={list(flags.ch_mult)}, attn={list(flags.attn)}, "
        f"num_res_blocks={flags.num_res_blocks})"
    )
    question = "is the flag file that of another run?"
    for name, shape in shapes.items():
        if name not in theirs:
            raise UserError(f"The checkpoint has no {name}, which {asked} ask for: {question}")
        seen = tuple(theirs[name].shape)
        if seen != shape:
            raise UserError(f"The checkpoint's {name} has the shape {seen}, where {asked} ask for {shape}: {question}")
    for name in theirs:
        if name not in shapes:
            raise UserError(f"The checkpoint has {name}, which {asked} don't ask for: {question}")
    if not torch.allclose(theirs[TIME_TABLE].float(), time_table(flags), atol=1e-3):
        raise UserError(f"The checkpoint's {TIME_TABLE} holds other sines and cosines than the authors' code makes.")
    return {pair.ours: pair.to_ours(theirs[pair.theirs]).contiguous() for pair in pairs}
