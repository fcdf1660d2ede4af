"""The authors' U-Net, evaluated straight from a state dict of theirs, and checkpoints in their format.

Written from the description of their code, as plainly as can be, to compare the converted network with.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor
from torch.nn import functional as F

from secmi_exp.targets.authors_format import TIME_TABLE, Flags, correspondences, time_table


def random_weights(flags: Flags, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of theirs whose every tensor matters: diffusers' initial values and noise."""
    torch.manual_seed(seed)
    ours = {name: w + 0.05 * torch.randn_like(w) for name, w in UNet2DModel(**flags.network).state_dict().items()}
    return to_authors(ours, flags)


def to_authors(ours: Mapping[str, Tensor], flags: Flags) -> dict[str, Tensor]:
    """Our state dict as theirs."""
    pairs = correspondences(flags, ours)
    return {TIME_TABLE: time_table(flags), **{pair.theirs: pair.to_theirs(ours[pair.ours]) for pair in pairs}}


def write_checkpoint(folder: Path, flags: Flags, *, prefix: str = "module.", **changes: Any) -> Path:
    """ckpt.pt and flagfile.txt, as their code leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "--train",
        "--noparallel",
        f"--T={flags.T}",
        f"--ch={flags.ch}",
        f"--num_res_blocks={flags.num_res_blocks}",
    ]
    lines += [f"--ch_mult={m}" for m in flags.ch_mult] + [f"--attn={level}" for level in flags.attn]
    lines += [f"--img_size={flags.img_size}", f"--mean_type={flags.mean_type}", f"--dropout={flags.dropout}"]
    (folder / "flagfile.txt").write_text("\n".join(lines) + "\n")
    content = {
        "net_model": {prefix + name: weight for name, weight in random_weights(flags, seed=1).items()},
        "ema_model": random_weights(flags, seed=2),
        "step": 800_000,
    }
    torch.save(content | changes, folder / "ckpt.pt")
    return folder / "ckpt.pt"


class AuthorsNetwork:
    """ε_θ(x_t, t) from one of their state dicts."""

    def __init__(self, weights: Mapping[str, Tensor], flags: Flags):
        self.weights = {name.removeprefix("module."): weight for name, weight in weights.items()}
        self.flags = flags

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _convolution(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        return F.conv2d(x, weight, self.weights[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps=1e-5)

    def _attention(self, name: str, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        h = self._norm(f"{name}.group_norm", x)
        q, k, v = (self._convolution(f"{name}.proj_{part}", h).flatten(2) for part in "qkv")
        attended = torch.softmax(q.transpose(1, 2) @ k * c**-0.5, dim=-1) @ v.transpose(1, 2)
        return x + self._convolution(f"{name}.proj", attended.transpose(1, 2).reshape(b, c, height, width))

    def _block(self, name: str, x: Tensor, time: Tensor) -> Tensor:
        h = self._convolution(f"{name}.block1.2", F.silu(self._norm(f"{name}.block1.0", x)))
        h = h + self._linear(f"{name}.temb_proj.1", F.silu(time))[:, :, None, None]
        h = self._convolution(f"{name}.block2.3", F.silu(self._norm(f"{name}.block2.0", h)))
        h = h + (self._convolution(f"{name}.shortcut", x) if f"{name}.shortcut.weight" in self.weights else x)
        return self._attention(f"{name}.attn", h) if f"{name}.attn.proj.weight" in self.weights else h

    def __call__(self, x: Tensor, t: int) -> Tensor:
        """[B, 3, H, W] at one timestep."""
        time = self.weights[TIME_TABLE][t].expand(len(x), -1)
        time = self._linear("time_embedding.timembedding.1", time)
        time = self._linear("time_embedding.timembedding.3", F.silu(time))
        h = self._convolution("head", x)
        skips, place = [h], 0
        for level in range(len(self.flags.ch_mult)):
            for _ in range(self.flags.num_res_blocks):
                h = self._block(f"downblocks.{place}", h, time)
                skips.append(h)
                place += 1
            if level < len(self.flags.ch_mult) - 1:
                h = self._convolution(f"downblocks.{place}.main", h, stride=2)
                skips.append(h)
                place += 1
        h = self._block("middleblocks.1", self._block("middleblocks.0", h, time), time)
        place = 0
        for level in reversed(range(len(self.flags.ch_mult))):
            for _ in range(self.flags.num_res_blocks + 1):
                h = self._block(f"upblocks.{place}", torch.cat([h, skips.pop()], dim=1), time)
                place += 1
            if level:
                h = self._convolution(f"upblocks.{place}.main", F.interpolate(h, scale_factor=2, mode="nearest"))
                place += 1
        return self._convolution("tail.2", F.silu(self._norm("tail.0", h)))
