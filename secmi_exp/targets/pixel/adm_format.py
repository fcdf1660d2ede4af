"""The format of openai/guided-diffusion (ADM): its flags, and its weights under diffusers' names.

Source of the flags with their defaults, and of the names and shapes of the weights: Dhariwal and Nichol, "Diffusion
Models Beat GANs on Image Synthesis" (NeurIPS 2021), and https://github.com/openai/guided-diffusion (script_util.py,
unet.py).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.targets.loading.model_file_schemas import MOST_TIMESTEPS
from secmi_exp.torch_on_use import Tensor, torch

refuse_differing = Deferred("secmi_exp.targets.loading.blank_networks:refuse_differing")
tensor_shapes = Deferred("secmi_exp.targets.loading.blank_networks:tensor_shapes")

MULTIPLES: Mapping[int, tuple[float, ...]] = {
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
}
"""Side of the images → the channels of each level as multiples of the first, where no flag says them."""


def _numbers(value: object) -> object:
    """Split a text such as "16,8", as their command line writes lists; an empty one is no number."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ADMFlags:
    """The flags that decide network and schedule, with the defaults that their code gives them."""

    image_size: Annotated[int, Field(gt=0, le=16_384)] = 64
    num_channels: Annotated[int, Field(gt=0, le=4096)] = 128
    num_res_blocks: Annotated[int, Field(gt=0, le=32)] = 2
    num_heads: Annotated[int, Field(gt=0, le=4096)] = 4
    num_heads_upsample: Annotated[int, Field(ge=-1, le=4096)] = -1
    """−1: as many as `num_heads`."""
    num_head_channels: Annotated[int, Field(ge=-1, le=4096)] = -1
    """Width of a head, whatever the number of heads is then; −1: `num_heads` counts."""
    attention_resolutions: Annotated[
        tuple[Annotated[int, Field(gt=0, le=16_384)], ...], BeforeValidator(_numbers), Field(max_length=16)
    ] = (16, 8)
    """Sides of the maps with attention."""
    channel_mult: Annotated[
        tuple[Annotated[float, Field(gt=0, le=64)], ...], BeforeValidator(_numbers), Field(max_length=12)
    ] = ()
    """Empty: see `MULTIPLES`."""
    use_scale_shift_norm: bool = True
    resblock_updown: bool = False
    use_new_attention_order: bool = False
    learn_sigma: bool = False
    class_cond: bool = False
    num_classes: Annotated[int, Field(gt=0, le=1_000_000)] = 1000
    """Number of classes with `class_cond`; a constant in the authors' code."""
    diffusion_steps: Annotated[int, Field(gt=0, le=MOST_TIMESTEPS)] = 1000
    noise_schedule: Literal["linear", "cosine"] = "linear"
    predict_xstart: bool = False
    rescale_timesteps: bool = False

    @property
    def multiples(self) -> tuple[float, ...]:
        """Channels of each level as multiples of `num_channels`.

        Raises:
            UserError: where neither the flag nor their code says them.
        """
        found = self.channel_mult or MULTIPLES.get(self.image_size)
        if not found:
            raise UserError(
                f"The code of guided-diffusion has no channel_mult for image_size={self.image_size}: set "
                "target.flags.channel_mult to the one of the training."
            )
        return found

    @property
    def widths(self) -> list[int]:
        """Channels of each level."""
        return [int(multiple * self.num_channels) for multiple in self.multiples]

    @property
    def attends(self) -> list[bool]:
        """Whether each level has attention, besides the middle, which always has."""
        reductions = {self.image_size // side for side in self.attention_resolutions}
        return [2**level in reductions for level in range(len(self.widths))]

    @property
    def head_width(self) -> int | None:
        """Channels of an attention head, which diffusers' network has one number for; None: one head of all channels.

        Raises:
            UserError: where heads of several widths are meant.
        """
        if self.num_head_channels != -1:
            return self.num_head_channels
        if self.num_heads_upsample not in (-1, self.num_heads):
            raise UserError(
                f"target.flags.num_heads_upsample={self.num_heads_upsample} differs from num_heads={self.num_heads}, "
                "which diffusers' UNet2DModel can't express: such a checkpoint can't be attacked."
            )
        if self.num_heads == 1:
            return None
        attending = {width for width, attends in zip(self.widths, self.attends, strict=True) if attends}
        wide = sorted(attending | {self.widths[-1]})
        if len(wide) > 1 or wide[0] % self.num_heads:
            raise UserError(
                f"target.flags.num_heads={self.num_heads} splits attention over {', '.join(map(str, wide))} channels "
                "into heads of several widths, and diffusers' UNet2DModel has one: only checkpoints with "
                "num_head_channels, with one head, or with attention at one width can be attacked."
            )
        return wide[0] // self.num_heads

    @property
    def network(self) -> dict[str, Any]:
        """Arguments of diffusers' `UNet2DModel`.

        Raises:
            UserError: for what it can't express.
        """
        if self.multiples[0] != 1:
            raise UserError(
                f"The first of channel_mult={[*self.multiples]} isn't 1, so that the embedding of the timestep has "
                "another width than the first level, which diffusers' UNet2DModel can't express: such a checkpoint "
                "can't be attacked."
            )
        if self.rescale_timesteps and self.diffusion_steps != 1000:
            raise UserError(
                f"target.flags.rescale_timesteps=true stretches diffusion_steps={self.diffusion_steps} to 1000 "
                "timesteps for the network, which diffusers' UNet2DModel can't express: such a checkpoint can't be "
                "attacked."
            )
        sampler = "resnet" if self.resblock_updown else "conv"
        plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if self.resblock_updown else None
        down, up = plain or ("DownBlock2D", "UpBlock2D")
        return {
            "sample_size": self.image_size,
            "in_channels": 3,
            "out_channels": 6 if self.learn_sigma else 3,
            "block_out_channels": self.widths,
            "layers_per_block": self.num_res_blocks,
            "down_block_types": ["AttnDownBlock2D" if attends else down for attends in self.attends],
            "up_block_types": ["AttnUpBlock2D" if attends else up for attends in reversed(self.attends)],
            "downsample_type": sampler,
            "upsample_type": sampler,
            "downsample_padding": 1,
            "attention_head_dim": self.head_width,
            "norm_num_groups": 32,
            "attn_norm_num_groups": 32,
            "norm_eps": 1e-5,
            "freq_shift": 0,
            "flip_sin_to_cos": True,  # cosines first
            "resnet_time_scale_shift": "scale_shift" if self.use_scale_shift_norm else "default",
            "num_class_embeds": self.num_classes if self.class_cond else None,
        }

    @property
    def scheduler(self) -> dict[str, Any]:
        """Arguments of diffusers' `DDPMScheduler`; β_1 and β_T of a linear schedule shrink with the number of steps."""
        stretch = 1000 / self.diffusion_steps
        linear = {"beta_schedule": "linear", "beta_start": stretch * 1e-4, "beta_end": stretch * 0.02}
        return {
            "num_train_timesteps": self.diffusion_steps,
            **(linear if self.noise_schedule == "linear" else {"beta_schedule": "squaredcos_cap_v2"}),
            "prediction_type": "sample" if self.predict_xstart else "epsilon",
            "variance_type": "learned_range" if self.learn_sigma else "fixed_large",
        }


OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "class_embedding": "label_emb",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
"""Outside of the blocks: diffusers' name → theirs."""

PARTS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
    "group_norm": "norm",
    "to_q": "qkv",
    "to_k": "qkv",
    "to_v": "qkv",
    "to_out.0": "proj_out",
}
"""Within a block of diffusers' → within a block of theirs; a convolution that halves or doubles is set apart."""

BLOCK = re.compile(r"(down|mid|up)_blocks?(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
QKV = re.compile(r"\.to_([qkv])\.")


def their_name(ours: str, flags: ADMFlags) -> str:
    """Return their name of a weight of diffusers' network.

    Theirs numbers the blocks of one side consecutively. A block is a list: a residual block, then attention where there
    is some, then what doubles the side of the maps; what halves it is a block of its own.

    >>> their_name("up_blocks.1.upsamplers.0.conv.bias", ADMFlags(image_size=64, num_res_blocks=2))
    'output_blocks.5.2.conv.bias'
    """
    module, kind = ours.rsplit(".", 1)
    if module in OUTSIDE:
        return f"{OUTSIDE[module]}.{kind}"
    block = BLOCK.fullmatch(module)
    assert block, ours
    side, level, role, index, part = block.groups()
    within = "op" if (role, part) == ("downsamplers", "conv") else PARTS.get(part, part)
    if side == "mid":
        return f"middle_block.{2 * int(index) if role == 'resnets' else 1}.{within}.{kind}"
    blocks = flags.num_res_blocks + 1
    first = int(level) * blocks + (side == "down")
    if role.endswith("samplers"):
        attends = [*reversed(flags.attends)][int(level)]
        place = f"{first + blocks - 1}.{0 if side == 'down' else 1 + attends}"
    else:
        place = f"{first + int(index)}.{0 if role == 'resnets' else 1}"
    return f"{'input' if side == 'down' else 'output'}_blocks.{place}.{within}.{kind}"


def from_adm(theirs: Mapping[str, Any], flags: ADMFlags, network: "torch.nn.Module", source: Path) -> dict[str, Tensor]:
    """Convert their weights to those of diffusers' network.

    Args:
        theirs: state dict.
        flags: flags of the training.
        network: diffusers' network for these flags, which gives names and shapes; may be on the meta device.
        source: the checkpoint, for the message.

    Raises:
        UserError: for weights that aren't those of the flags, counting and naming them.
    """
    blank = network.state_dict()
    expected: dict[str, tuple[int, ...]] = {}
    for ours, tensor in blank.items():
        name, shape = their_name(ours, flags), tuple(tensor.shape)
        if QKV.search(ours):
            shape = (3 * shape[0], *shape[1:])
        if ".attentions." in ours and ours.endswith(".weight") and "group_norm" not in ours:
            shape = (*shape, 1)  # a convolution over positions
        expected[name] = shape
    refuse_differing(
        tensor_shapes(theirs, source),
        expected,
        f"The weights in {source} contradict target.flags",
        "set the flags of its training",
    )
    converted = {}
    for ours, tensor in blank.items():
        weight = theirs[their_name(ours, flags)].float()
        if part := QKV.search(ours):
            weight = _head_rows(weight, "qkv".index(part[1]), flags)
        converted[ours] = weight.reshape(tensor.shape)
    return converted


def _head_rows(weight: Tensor, part: int, flags: ADMFlags) -> Tensor:
    """Select the rows of queries (0), keys (1) or values (2), which lie one after the other within each head.

    In the new order, and where there is one head, all queries come first, then all keys, then all values.
    """
    channels = len(weight) // 3
    heads = 1 if flags.use_new_attention_order else channels // (flags.head_width or channels)
    return weight.reshape(heads, 3, channels // heads, *weight.shape[1:])[:, part].flatten(0, 1)
