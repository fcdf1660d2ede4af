"""The network of tests/foreign/ddpm_mnist.pt, written from a description of it; see tests/foreign/README.md.

Names of parts are those of the checkpoint's keys.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

STEPS, TIME_FEATURES = 1000, 100


class Block(nn.Module):
    """Layer normalisation of the whole map, and two 3×3 convolutions, each followed by SiLU. [B, C, H, W] → C'."""

    def __init__(self, shape: tuple[int, int, int], channels: int, normalised: bool = True):
        super().__init__()
        self.normalised = normalised
        self.ln = nn.LayerNorm(shape)
        self.conv1 = nn.Conv2d(shape[0], channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ln(x) if self.normalised else x
        return silu(self.conv2(silu(self.conv1(x))))


def stage(side: int, *channels: int, last_normalised: bool = True) -> nn.Sequential:
    """Blocks in a row: one for each step from a number of channels to the next."""
    pairs = list(pairwise(channels))
    return nn.Sequential(
        *(Block((a, side, side), b, last_normalised or i < len(pairs) - 1) for i, (a, b) in enumerate(pairs))
    )


def time_branch(channels: int) -> nn.Sequential:
    """From the features of a timestep to what is added to each channel of a stage's input."""
    return nn.Sequential(nn.Linear(TIME_FEATURES, channels), nn.SiLU(), nn.Linear(channels, channels))


class ForeignMNIST(nn.Module):
    """A U-Net that predicts ε in images [B, 1, 28, 28] from whole timesteps [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.time_embed = nn.Embedding(STEPS, TIME_FEATURES)
        self.te1, self.b1 = time_branch(1), stage(28, 1, 10, 10, 10)
        self.down1 = nn.Conv2d(10, 10, 4, 2, 1)
        self.te2, self.b2 = time_branch(10), stage(14, 10, 20, 20, 20)
        self.down2 = nn.Conv2d(20, 20, 4, 2, 1)
        self.te3, self.b3 = time_branch(20), stage(7, 20, 40, 40, 40)
        self.down3 = nn.Sequential(nn.Conv2d(40, 40, 2, 1), nn.SiLU(), nn.Conv2d(40, 40, 4, 2, 1))
        self.te_mid, self.b_mid = time_branch(40), stage(3, 40, 20, 20, 40)
        self.up1 = nn.Sequential(nn.ConvTranspose2d(40, 40, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(40, 40, 2, 1))
        self.te4, self.b4 = time_branch(80), stage(7, 80, 40, 20, 20)
        self.up2 = nn.ConvTranspose2d(20, 20, 4, 2, 1)
        self.te5, self.b5 = time_branch(40), stage(14, 40, 20, 10, 10)
        self.up3 = nn.ConvTranspose2d(10, 10, 4, 2, 1)
        self.te_out, self.b_out = time_branch(20), stage(28, 20, 10, 10, 10, last_normalised=False)
        self.conv_out = nn.Conv2d(10, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.time_embed(t)

        def with_time(x: Tensor, branch: nn.Module) -> Tensor:
            return x + branch(time)[:, :, None, None]

        out1 = self.b1(with_time(x, self.te1))
        out2 = self.b2(with_time(self.down1(out1), self.te2))
        out3 = self.b3(with_time(self.down2(out2), self.te3))
        middle = self.b_mid(with_time(self.down3(out3), self.te_mid))
        out4 = self.b4(with_time(torch.cat([out3, self.up1(middle)], dim=1), self.te4))
        out5 = self.b5(with_time(torch.cat([out2, self.up2(out4)], dim=1), self.te5))
        out = self.b_out(with_time(torch.cat([out1, self.up3(out5)], dim=1), self.te_out))
        noise: Tensor = self.conv_out(out)
        return noise
