"""A module that is trained within milliseconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from secmi_exp.engine.batches import TrainingBatches
from secmi_exp.engine.training import fit
from secmi_exp.testing import cpu_runtime


class Line(pl.LightningModule):
    """One weight; from step ``nan_from`` on the loss, or the gradient alone, is NaN."""

    def __init__(self, nan_from: int, *, gradient_only: bool):
        super().__init__()
        self.weight, self.nan_from, self.gradient_only = nn.Parameter(torch.ones(1)), nan_from, gradient_only

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        loss = self.weight.square().sum()
        if self.global_step + 1 >= self.nan_from:
            if not self.gradient_only:
                return loss * torch.nan
            self.weight.register_hook(lambda gradient: gradient * torch.nan)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train(module: Line, folder: Path) -> None:
    arguments: dict[str, Any] = {"max_steps": 9, "checkpoint_every": 3, "log_every": 100}
    batches = TrainingBatches(np.zeros(4, dtype=np.float32), batch_size=2, seed=0)
    fit(module, batches, name="line", workspace=folder, runtime=cpu_runtime(), logger=None, **arguments)
