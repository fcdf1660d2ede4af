"""The classifiers of SecMI_NN, and their training: one network, or several side by side for cross-validation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from secmi_exp.attacks.scorers.scorer import Scores
from secmi_exp.data.slices import slices
from secmi_exp.data.stored_rows import RowArray
from secmi_exp.engine.batches import GivenBatches, Piece, TrainingBatches
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.trainers import make_trainer
from secmi_exp.engine.training import seed_step

SCORED_AT_ONCE = 512
"""Maps a batch."""
NO_FOLD = -1
"""The fold of a network that is trained on all rows."""


def resnet18_network(channels: int) -> nn.Module:
    """ResNet-18 for small images: a 3×3 stem of stride 1 and no max-pool; one output. Any height and width."""
    network: nn.Module = resnet18(num_classes=1)
    network.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def small_network(channels: int, width: int) -> nn.Module:
    """Two 3×3 convolutions of this width, a 2×2 average between, a global average, one output. Any size of maps."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Conv2d(width, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 1),
    )


@dataclass(frozen=True)
class Learner:
    """A network that is trained on the rows of all folds but one."""

    network: nn.Module
    weight_decay: float
    left_out: int = NO_FOLD
    """The fold."""
    number: int = 0
    """Shared by the networks that differ by the fold alone."""


@dataclass(frozen=True)
class Procedure:
    """How networks are trained, whatever their size."""

    loss: Callable[[Tensor, Tensor], Tensor]
    """Maps outputs and labels, [B] each, to a scalar."""
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
    """Makes the optimizer of groups of parameters, each with its weight decay."""
    batch_size: int
    seed: int


class ErrorMapTraining(pl.LightningModule):
    """Learners that share batches of maps and an optimizer whose groups don't affect each other.

    Args:
        learners: each is trained on the rows of all folds but its own.
        procedure: how.
        scale: divisor of the maps: a number, or one per channel, [1, C, 1, 1].
        judged_after: steps after which the rows that a learner isn't trained on are put through it.
        kept: numbers of learners, and rows, whose outputs are kept then.
    """

    scale: Tensor
    held_out: Tensor
    """Outputs for rows by networks that were not trained on them, [judged after, learners' numbers, rows]."""

    def __init__(
        self,
        learners: Sequence[Learner],
        procedure: Procedure,
        scale: Tensor,
        judged_after: Sequence[int] = (),
        kept: tuple[int, int] = (0, 0),
    ):
        super().__init__()
        self.networks = nn.ModuleList([learner.network for learner in learners])
        self.learners, self.procedure, self.judged_after = learners, procedure, judged_after
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("held_out", torch.full((len(judged_after), *kept), torch.nan))

    def forward(self, maps: Tensor) -> Tensor:
        """Error maps [B, C, H, W] to the outputs of each learner, [learners, B]."""
        scaled = maps.float() / self.scale
        return torch.stack([network(scaled).squeeze(1) for network in self.networks])

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor, Tensor, Piece], batch_idx: int) -> Tensor:
        """Sum of the learners' losses, each on the rows of the folds that it is trained on."""
        seed_step(self.device, self.procedure.seed, self.global_step)
        maps, labels, folds, *_ = batch
        scaled = maps.float() / self.scale
        losses = []
        for learner, network in zip(self.learners, self.networks, strict=True):
            used = folds != learner.left_out
            if learner.left_out != NO_FOLD and used.sum() < 2:  # too few for batch normalisation
                continue
            losses.append(self.procedure.loss(network(scaled[used]).squeeze(1), labels[used]))
        if not losses:
            return torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * 0.0
        return torch.stack(losses).sum()

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Keep the outputs for the rows of each learner's own fold, where this is one of the steps to judge after."""
        if self.global_step not in self.judged_after:
            return
        maps, _, folds, rows = batch
        judged = self.held_out[self.judged_after.index(self.global_step)]
        for learner, output in zip(self.learners, self(maps), strict=True):
            own = folds == learner.left_out
            judged[learner.number, rows[own]] = output[own].to(judged.dtype)

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """The first learner's output, [B]."""
        output: Tensor = self(batch[0])[0]
        return output

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One for all, with a group of parameters a learner."""
        return self.procedure.optimizer(
            [
                {"params": list(network.parameters()), "weight_decay": learner.weight_decay}
                for learner, network in zip(self.learners, self.networks, strict=True)
            ]
        )


class FoldBatches(TrainingBatches):
    """Shuffled batches of maps, labels, folds and row numbers; for validation all of them in order."""

    def __init__(self, maps: RowArray, is_member: NDArray[np.bool_], folds: NDArray[np.int64], procedure: Procedure):
        arrays = maps, is_member.astype(np.float32), folds, np.arange(len(maps))
        super().__init__(*arrays, batch_size=procedure.batch_size, seed=procedure.seed)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """One pass."""
        return self.loader(list(slices(len(self.arrays[0]), SCORED_AT_ONCE)))


def predict(module: ErrorMapTraining, maps: RowArray, runtime: Runtime) -> Scores:
    """The first learner's output for all maps [n, C, H, W]. [n]."""
    batches = GivenBatches([maps], list(slices(len(maps), SCORED_AT_ONCE)))
    predictions: Any = make_trainer(runtime).predict(module, datamodule=batches)
    return torch.cat(predictions).double().cpu().numpy()
