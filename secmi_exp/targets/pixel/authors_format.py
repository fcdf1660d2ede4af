"""The format of the authors' pytorch-ddpm code: its flag file, and its weights under diffusers' names.

Source of the flags with their defaults, and of the names and shapes of the weights:
https://github.com/jinhaoduan/SecMI and https://github.com/w86763777/pytorch-ddpm.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.files.regular import read_regular
from secmi_exp.targets.loading.model_file_schemas import MOST_TIMESTEPS
from secmi_exp.targets.loading.settings_files import reason
from secmi_exp.targets.noise_schedule import Beta
from secmi_exp.torch_on_use import Tensor, torch

tensor_shapes = Deferred("secmi_exp.targets.loading.blank_networks:tensor_shapes")

FLAG_FILE = "flagfile.txt"
MOST_BYTES = 2**20
"""Upper bound of a flag file's size; it has some 50 lines."""


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Flags:
    """The flags that decide network and schedule, with the defaults that their code gives them."""

    T: Annotated[int, Field(gt=0, le=MOST_TIMESTEPS)] = 1000
    beta_1: Beta = 1e-4
    beta_T: Beta = 0.02
    ch: Annotated[int, Field(gt=0, le=4096)] = 128
    ch_mult: Annotated[tuple[Annotated[int, Field(gt=0, le=64)], ...], Field(min_length=1, max_length=8)] = (1, 2, 2, 2)
    attn: Annotated[tuple[Annotated[int, Field(ge=0, le=64)], ...], Field(max_length=64)] = (1,)
    """Levels with attention, the finest being 0."""
    num_res_blocks: Annotated[int, Field(gt=0, le=32)] = 2
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    img_size: Annotated[int, Field(gt=0, le=16_384)] = 32
    mean_type: Literal["epsilon", "xstart", "xprev"] = "epsilon"
    """What their sampler takes the output for. Their trainer makes it ε whatever the flag is (diffusion.py:
    `GaussianDiffusionTrainer` gets neither the flag nor another goal than the noise), and so it is read here."""

    def __str__(self) -> str:
        levels = f"ch_mult={list(self.ch_mult)}, attn={list(self.attn)}"
        return f"T={self.T}, ch={self.ch}, {levels}, num_res_blocks={self.num_res_blocks}"

    @property
    def network(self) -> dict[str, Any]:
        """Arguments of diffusers' `UNet2DModel`.

        Their table of sines and cosines is part of the checkpoint, and after a long training the averaged one is no
        longer what it was: rounding alone moves an average with decay 0.9999 up to 1.6e-4 away from a constant. So it
        is kept as a table ("learned"), rather than computed anew.
        """
        levels = range(len(self.ch_mult))
        attention = ["Attn" if level in self.attn else "" for level in levels]
        return {
            "sample_size": self.img_size,
            "in_channels": 3,
            "out_channels": 3,
            "time_embedding_type": "learned",
            "num_train_timesteps": self.T,
            "block_out_channels": [self.ch * multiplier for multiplier in self.ch_mult],
            "layers_per_block": self.num_res_blocks,
            "down_block_types": [f"{attention[level]}DownBlock2D" for level in levels],
            "up_block_types": [f"{attention[level]}UpBlock2D" for level in reversed(levels)],
            "attention_head_dim": None,  # one head
            "downsample_padding": 1,
            "norm_num_groups": 32,
            "norm_eps": 1e-5,
            "dropout": self.dropout,
        }

    @property
    def scheduler(self) -> dict[str, Any]:
        """Arguments of diffusers' `DDPMScheduler`."""
        return {
            "num_train_timesteps": self.T,
            "beta_schedule": "linear",
            "beta_start": self.beta_1,
            "beta_end": self.beta_T,
            "prediction_type": "epsilon",
        }


def read_flags(path: Path) -> Flags:
    """Read a flag file as absl writes it: ``--name=value``, ``--name`` or ``--noname``; a list repeats its flag.

    Raises:
        UserError: for a file that can't be read or was not fetched, lines that are no flags, and values that their code
            doesn't have or diffusers' network can't express.
    """
    refuse_pointer(path)
    try:
        lines = read_regular(path, MOST_BYTES).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The checkpoint's flags can't be read from {path} ({reason(error)}): put the {FLAG_FILE} of its training "
            "there, which describes its network and schedule."
        ) from error
    given: dict[str, list[str]] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith(("#", "//")):
            continue
        flag = re.fullmatch(r"--?(?!flagfile\b)([A-Za-z]\w*)(?:=(.*))?", line)
        if not flag:
            raise UserError(
                f"Line {number} of {path}, {line!r}, is no flag of the form --name=value: correct or remove it."
            )
        given.setdefault(flag[1], []).append(flag[2] or "")
    values = {name: every if name in ("ch_mult", "attn") else every[-1] for name, every in given.items()}
    try:
        flags = TypeAdapter(Flags).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"The flag --{first['loc'][0]}={str(first['input'])[:60]} of {path} can't be used: "
            f"{first['msg'][0].lower()}{first['msg'][1:]}."
        ) from error
    if flags.ch_mult[0] != 1:
        raise UserError(
            f"The flags --ch_mult={list(flags.ch_mult)} of {path} widen the first level, which diffusers' UNet2DModel "
            "can't express: only checkpoints whose first --ch_mult is 1 can be attacked."
        )
    return flags


SIDES = {"down_blocks": "downblocks", "mid_block": "middleblocks", "up_blocks": "upblocks"}

PARTS = {
    "norm1": "block1.0",
    "conv1": "block1.2",
    "time_emb_proj": "temb_proj.1",
    "norm2": "block2.0",
    "conv2": "block2.3",
    "conv_shortcut": "shortcut",
    "group_norm": "attn.group_norm",
    "to_q": "attn.proj_q",
    "to_k": "attn.proj_k",
    "to_v": "attn.proj_v",
    "to_out.0": "attn.proj",
    "conv": "main",
}
"""Within a block of diffusers' → within a block of theirs."""

OUTSIDE = {
    "time_proj": "time_embedding.timembedding.0",
    "time_embedding.linear_1": "time_embedding.timembedding.1",
    "time_embedding.linear_2": "time_embedding.timembedding.3",
    "conv_in": "head",
    "conv_norm_out": "tail.0",
    "conv_out": "tail.2",
}
"""Outside of the blocks."""

BLOCK = re.compile(r"(\w+_blocks?)(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def their_name(ours: str, flags: Flags) -> str:
    """Return the authors' name of a weight of diffusers' network.

    Theirs numbers the blocks of one side consecutively: those of a level, its down- or up-sampler, the next level.

    >>> their_name("up_blocks.1.attentions.0.to_q.weight", Flags(ch_mult=(1, 2), attn=(0,), num_res_blocks=2))
    'upblocks.4.attn.proj_q.weight'
    """
    module, kind = ours.rsplit(".", 1)
    if module in OUTSIDE:
        return f"{OUTSIDE[module]}.{kind}"
    block = BLOCK.fullmatch(module)
    assert block, ours
    side, level, role, index, part = block.groups()
    blocks = flags.num_res_blocks + (side == "up_blocks")
    within = blocks if role.endswith("samplers") else int(index)
    return f"{SIDES[side]}.{int(level or 0) * (blocks + 1) + within}.{PARTS[part]}.{kind}"


def to_authors(ours: Mapping[str, Tensor], flags: Flags) -> dict[str, Tensor]:
    """Convert diffusers' weights to the authors': linear layers of its attention are 1×1 convolutions in theirs."""
    return {
        their_name(name, flags): tensor[:, :, None, None] if ".attentions." in name and tensor.dim() == 2 else tensor
        for name, tensor in ours.items()
    }


def from_authors(
    theirs: Mapping[str, Any], flags: Flags, network: "torch.nn.Module", source: Path
) -> dict[str, Tensor]:
    """Convert the authors' weights to those of diffusers' network.

    Args:
        theirs: state dict, with or without the prefix ``module.`` of data-parallel training.
        flags: flags of the training.
        network: diffusers' network for these flags, which gives names and shapes; may be on the meta device.
        source: the checkpoint, for the message.

    Raises:
        UserError: naming the first weight that is no tensor, missing, superfluous, or of another shape than the flags
            say.
    """
    blank = network.state_dict()
    expected = {name: tuple(tensor.shape) for name, tensor in to_authors(blank, flags).items()}
    tensors = {str(name).removeprefix("module."): tensor for name, tensor in theirs.items()}
    found = tensor_shapes(tensors, source)
    differing = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if differing:
        name = differing[0]
        raise UserError(
            f"The weights contradict the flags ({flags}): {name} has {_shape(found, name)} in the checkpoint and "
            f"{_shape(expected, name)} by the flags; put the {FLAG_FILE} of the same training beside it."
        )
    return {name: tensors[their_name(name, flags)].float().reshape(tensor.shape) for name, tensor in blank.items()}


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return f"the shape {list(shapes[name])}" if name in shapes else "no place"
