"""The authors' network evaluated straight from its weights, and checkpoints in their format, whatever the flags."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor

from secmi_exp.targets.pixel.authors_format import Flags, to_authors

TABLE = "time_embedding.timembedding.0.weight"


def time_table(flags: Flags) -> Tensor:
    """Sine and cosine of each timestep, alternating. [T, ch]."""
    frequency = torch.exp(-torch.arange(0, flags.ch, 2) / flags.ch * math.log(10000))
    angle = torch.arange(flags.T).float()[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def random_weights(flags: Flags, seed: int) -> dict[str, Tensor]:
    """A state dict of theirs, every tensor of which differs from every other."""
    torch.manual_seed(seed)
    ours = UNet2DModel(**flags.network).state_dict()
    noisy = {name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in ours.items()}
    return {**to_authors(noisy, flags), TABLE: time_table(flags)}


def save_checkpoint(folder: Path, flags: Flags, **weights: Mapping[str, Tensor]) -> Path:
    """A checkpoint, and its flag file as absl writes it."""
    torch.save({**weights, "step": 800000, "x_T": torch.zeros(1)}, folder / "ckpt.pt")
    lists = [f"--{name}={value}" for name in ("ch_mult", "attn") for value in getattr(flags, name)]
    scalars = ("T", "beta_1", "beta_T", "ch", "num_res_blocks", "dropout", "img_size", "mean_type")
    lines = [*(f"--{name}={getattr(flags, name)}" for name in scalars), *lists, "--noparallel", "--train", ""]
    (folder / "flagfile.txt").write_text("\n".join(lines))
    return folder / "ckpt.pt"


def predict(weights: Mapping[str, Tensor], flags: Flags, x: Tensor, t: int) -> Tensor:
    """ε_θ(x, t) as the authors' network computes it. [B, 3, H, W]."""
    weights = {name.removeprefix("module."): tensor.to(x.dtype) for name, tensor in weights.items()}

    def of(name: str) -> tuple[Tensor, Tensor]:
        return weights[f"{name}.weight"], weights[f"{name}.bias"]

    def normed(name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, *of(name), eps=1e-5)

    def attention(name: str, x: Tensor) -> Tensor:
        h = normed(f"{name}.group_norm", x)
        q, k, v = (F.conv2d(h, *of(f"{name}.proj_{part}")).flatten(2) for part in "qkv")
        similarity = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(x.shape[1]), dim=-1)
        return x + F.conv2d((v @ similarity.transpose(1, 2)).reshape(x.shape), *of(f"{name}.proj"))

    def residual(name: str, x: Tensor, attends: bool) -> Tensor:
        h = F.conv2d(F.silu(normed(f"{name}.block1.0", x)), *of(f"{name}.block1.2"), padding=1)
        h = h + F.linear(F.silu(time), *of(f"{name}.temb_proj.1"))[:, :, None, None]
        h = F.conv2d(F.silu(normed(f"{name}.block2.0", h)), *of(f"{name}.block2.3"), padding=1)
        h = h + (F.conv2d(x, *of(f"{name}.shortcut")) if h.shape != x.shape else x)
        return attention(f"{name}.attn", h) if attends else h

    time = F.linear(weights[TABLE][t][None], *of("time_embedding.timembedding.1"))
    time = F.linear(F.silu(time), *of("time_embedding.timembedding.3"))
    levels = range(len(flags.ch_mult))
    h = F.conv2d(x, *of("head"), padding=1)
    skips, place = [h], 0
    for level in levels:
        for _ in range(flags.num_res_blocks):
            h = residual(f"downblocks.{place}", h, level in flags.attn)
            skips.append(h)
            place += 1
        if level != levels[-1]:
            h = F.conv2d(h, *of(f"downblocks.{place}.main"), stride=2, padding=1)
            skips.append(h)
            place += 1
    h = residual("middleblocks.0", h, attends=True)
    h = residual("middleblocks.1", h, attends=False)
    place = 0
    for level in reversed(levels):
        for _ in range(flags.num_res_blocks + 1):
            h = residual(f"upblocks.{place}", torch.cat([h, skips.pop()], dim=1), level in flags.attn)
            place += 1
        if level != 0:
            h = F.conv2d(F.interpolate(h, scale_factor=2, mode="nearest"), *of(f"upblocks.{place}.main"), padding=1)
            place += 1
    return F.conv2d(F.silu(normed("tail.0", h)), *of("tail.2"), padding=1)


FLAGS = Flags(ch=32, ch_mult=(1, 2), attn=(1,), num_res_blocks=1, img_size=8)


def change(path: Path, name: str, value: object) -> None:
    """Replace one weight of the averaged ones; None removes it."""
    checkpoint = torch.load(path, weights_only=True)
    if value is None:
        del checkpoint["ema_model"][name]
    else:
        checkpoint["ema_model"][name] = value
    torch.save(checkpoint, path)
