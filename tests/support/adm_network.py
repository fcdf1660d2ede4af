"""ADM's U-Net evaluated straight from its weights, as its paper describes it, whatever the flags.

`Weights` draws each weight when it is first asked for, so that one evaluation makes a state dict of their layout.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from secmi_exp.targets.pixel.adm_format import ADMFlags


class Weights(dict[str, Tensor]):
    """A state dict; weights that it lacks are random."""

    def draw(self, name: str, *shape: int) -> Tensor:
        if name not in self:
            norm = name.endswith(("norm.weight", "layers.0.weight", "out.0.weight"))
            spread = 0.2 if len(shape) == 1 else 1.0 / math.sqrt(math.prod(shape[1:]))
            self[name] = spread * torch.randn(shape) + float(norm)
        assert self[name].shape == shape, name
        return self[name]

    def layer(self, name: str, out: int, *inner: int) -> tuple[Tensor, Tensor]:
        return self.draw(f"{name}.weight", out, *inner), self.draw(f"{name}.bias", out)


def predict(weights: Weights, flags: ADMFlags, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
    """Their network's output. [B, 3, H, W], or [B, 6, H, W] with learned variances."""
    wide = 4 * flags.num_channels
    angles = t[:, None] * torch.exp(
        -math.log(10_000) * torch.arange(flags.num_channels // 2) / (flags.num_channels // 2)
    )
    time = F.linear(
        torch.cat([angles.cos(), angles.sin()], dim=1), *weights.layer("time_embed.0", wide, flags.num_channels)
    )
    time = F.linear(F.silu(time), *weights.layer("time_embed.2", wide, wide))
    if labels is not None:
        time = time + weights.draw("label_emb.weight", flags.num_classes, wide)[labels]

    def normed(name: str, h: Tensor) -> Tensor:
        return F.group_norm(h, 32, *weights.layer(name, h.shape[1]))

    def conv(name: str, h: Tensor, out: int, size: int = 3, stride: int = 1) -> Tensor:
        return F.conv2d(h, *weights.layer(name, out, h.shape[1], size, size), padding=size // 2, stride=stride)

    def resized(h: Tensor, change: str | None) -> Tensor:
        if change == "up":
            return F.interpolate(h, scale_factor=2, mode="nearest")
        return F.avg_pool2d(h, 2) if change == "down" else h

    def residual(name: str, x: Tensor, out: int, change: str | None = None) -> Tensor:
        h = conv(f"{name}.in_layers.2", resized(F.silu(normed(f"{name}.in_layers.0", x)), change), out)
        x = resized(x, change)
        twice = 1 + flags.use_scale_shift_norm
        shift = F.linear(F.silu(time), *weights.layer(f"{name}.emb_layers.1", twice * out, wide))[:, :, None, None]
        if flags.use_scale_shift_norm:
            h = normed(f"{name}.out_layers.0", h) * (1 + shift[:, :out]) + shift[:, out:]
        else:
            h = normed(f"{name}.out_layers.0", h + shift)
        h = conv(f"{name}.out_layers.3", F.silu(h), out)
        return h + (x if x.shape[1] == out else conv(f"{name}.skip_connection", x, out, size=1))

    def attention(name: str, x: Tensor) -> Tensor:
        channels = x.shape[1]
        heads = channels // flags.num_head_channels if flags.num_head_channels != -1 else flags.num_heads
        qkv = F.conv1d(normed(f"{name}.norm", x).flatten(2), *weights.layer(f"{name}.qkv", 3 * channels, channels, 1))
        if flags.use_new_attention_order:
            q, k, v = (part.unflatten(1, (heads, -1)) for part in qkv.chunk(3, dim=1))
        else:
            q, k, v = qkv.unflatten(1, (heads, -1)).chunk(3, dim=2)
        similarity = torch.einsum("bhcq,bhck->bhqk", q, k) / math.sqrt(channels // heads)
        h = torch.einsum("bhqk,bhck->bhcq", similarity.softmax(dim=-1), v).flatten(1, 2)
        return x + F.conv1d(h, *weights.layer(f"{name}.proj_out", channels, channels, 1)).view(x.shape)

    widths, attends = flags.widths, flags.attends
    h = conv("input_blocks.0.0", x, widths[0])
    skips, place = [h], 1
    for level, out in enumerate(widths):
        for _ in range(flags.num_res_blocks):
            h = residual(f"input_blocks.{place}.0", h, out)
            h = attention(f"input_blocks.{place}.1", h) if attends[level] else h
            skips.append(h)
            place += 1
        if level < len(widths) - 1:
            halved = f"input_blocks.{place}.0"
            h = residual(halved, h, out, "down") if flags.resblock_updown else conv(f"{halved}.op", h, out, stride=2)
            skips.append(h)
            place += 1
    h = residual("middle_block.0", h, widths[-1])
    h = residual("middle_block.2", attention("middle_block.1", h), widths[-1])
    place = 0
    for level in reversed(range(len(widths))):
        for block in range(flags.num_res_blocks + 1):
            h = residual(f"output_blocks.{place}.0", torch.cat([h, skips.pop()], dim=1), widths[level])
            h = attention(f"output_blocks.{place}.1", h) if attends[level] else h
            if level and block == flags.num_res_blocks:
                doubled = f"output_blocks.{place}.{1 + attends[level]}"
                if flags.resblock_updown:
                    h = residual(doubled, h, widths[level], "up")
                else:
                    h = conv(f"{doubled}.conv", resized(h, "up"), widths[level])
            place += 1
    assert not skips
    return conv("out.2", F.silu(normed("out.0", h)), 6 if flags.learn_sigma else 3)


def random_weights(flags: ADMFlags, seed: int = 0) -> Weights:
    torch.manual_seed(seed)
    weights = Weights()
    labels = torch.zeros(1, dtype=torch.long) if flags.class_cond else None
    predict(weights, flags, torch.zeros(1, 3, flags.image_size, flags.image_size), torch.zeros(1), labels)
    return weights
