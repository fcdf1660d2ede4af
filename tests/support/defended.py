"""DDPM recipes with a defense, and what their training gives."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from secmi_exp.data.images import Images
from secmi_exp.engine.batches import Piece
from secmi_exp.engine.optimization import Draws
from secmi_exp.targets.pixel import training
from secmi_exp.targets.pixel.ddpm import DDPM
from secmi_exp.testing import configured, cpu_runtime

MEMBERS = Images.from_pixels(np.random.default_rng(0).integers(0, 256, (24, 1, 8, 8), dtype=np.uint8))
SMALL = ["experiment=smoke", "target.batch_size=8", "target.max_steps=6", "target.warmup_steps=2"]


@cache
def recipe(*overrides: str) -> DDPM:
    """The smallest target, as the command line would make it."""
    target: DDPM = configured("target", *SMALL, *overrides)
    return target


def trained(folder: Path, *overrides: str, **settings: Any) -> training.PixelTraining:
    """A module at the end of its training."""
    return training.train(recipe(*overrides).defended, MEMBERS, folder, cpu_runtime(**settings), logger=None)


def weights(module: torch.nn.Module) -> torch.Tensor:
    """All of them in a row."""
    return torch.cat([each.detach().flatten() for each in module.parameters()])


def draws(start: int, stop: int, total: int, step: int = 3) -> Draws:
    """Of a step, at its beginning."""
    begun = Draws(Piece(start, stop, total), torch.device("cpu"), 0, step)
    begun.begin()
    return begun
