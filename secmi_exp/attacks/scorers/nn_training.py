"""The classifier of SecMI_NN, and its training."""

from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from secmi_exp.attacks.scorers.scorer import Fitting, Scores
from secmi_exp.data.slices import slices
from secmi_exp.data.stored_rows import RowArray
from secmi_exp.engine.batches import GivenBatches, Piece, TrainingBatches
from secmi_exp.engine.trainers import make_trainer
from secmi_exp.engine.training import fit, seed_step

SCORED_AT_ONCE = 512
"""Maps a batch."""


class Recipe(Protocol):
    """The settings of `ErrorMapClassifier`."""

    epochs: int
    min_steps: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    checkpoint_every: int
    seed: int


def error_map_network(channels: int) -> nn.Module:
    """ResNet-18 for small images: a 3×3 stem of stride 1 and no max-pool; one output. Any height and width."""
    network: nn.Module = resnet18(num_classes=1)
    network.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def train_and_score(recipe: Recipe, maps: RowArray, fitting: Fitting) -> Scores:
    """Train on the maps of the fitted rows with their labels, score all maps [n, C, H, W]. [n]."""
    train = np.array(maps[fitting.rows])
    scale = float(train.astype(np.float32).std()) or 1.0
    torch.manual_seed(recipe.seed)
    module = ErrorMapTraining(error_map_network(maps.shape[1]), scale, recipe)
    steps_per_epoch = len(train) // min(recipe.batch_size, len(train))
    fit(
        module,
        TrainingBatches(train, fitting.is_member.astype(np.float32), batch_size=recipe.batch_size, seed=recipe.seed),
        name="nn",
        label="classifier",
        workspace=fitting.workspace,
        runtime=fitting.runtime,
        logger=fitting.make_logger(),
        max_steps=max(recipe.epochs * steps_per_epoch, recipe.min_steps),
        checkpoint_every=recipe.checkpoint_every,
    )
    batches = list(slices(len(maps), SCORED_AT_ONCE))
    predictions: Any = make_trainer(fitting.runtime).predict(module, datamodule=GivenBatches([maps], batches))
    return torch.cat(predictions).double().cpu().numpy()


class ErrorMapTraining(pl.LightningModule):
    """The classifier as Lightning trains it."""

    def __init__(self, network: nn.Module, scale: float, recipe: Recipe):
        super().__init__()
        self.network, self.scale, self.recipe = network, scale, recipe

    def forward(self, maps: Tensor) -> Tensor:
        """Error maps [B, C, H, W] to one output each, [B]."""
        output: Tensor = self.network(maps.float() / self.scale).squeeze(1)
        return output

    def training_step(self, batch: tuple[Tensor, Tensor, Piece], batch_idx: int) -> Tensor:
        """Squared error of the output against the label."""
        seed_step(self.device, self.recipe.seed, self.global_step)
        maps, labels, _ = batch
        return nn.functional.mse_loss(self(maps), labels)

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """The output, [B]."""
        output: Tensor = self(batch[0])
        return output

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        recipe = self.recipe
        return torch.optim.SGD(
            self.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
