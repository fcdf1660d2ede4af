"""SecMI_NN: a ResNet-18 on the absolute error map. Source: Duan et al. (ICML 2023) and their released code."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn
from torchvision.models import resnet18

from secmi_exp.attacks.scorer import Scores
from secmi_exp.attacks.signal import Signals
from secmi_exp.data.batches import TrainingBatches, in_order
from secmi_exp.runtime import Runtime
from secmi_exp.store import Json
from secmi_exp.training import CHECKPOINTS, fit, seed_step


def error_map_network(channels: int) -> nn.Module:
    """ResNet-18 for small images: a 3×3 stem of stride 1 and no max-pool; one output. Any height and width."""
    network: nn.Module = resnet18(num_classes=1)
    network.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ErrorMapClassifier:
    """Trained by squared error against 1 for members and 0 for hold-outs; the last epoch's weights score."""

    version: ClassVar[int] = 1

    t_sec: PositiveInt
    epochs: PositiveInt
    batch_size: Annotated[int, Field(ge=2)]
    lr: PositiveFloat
    momentum: NonNegativeFloat
    weight_decay: NonNegativeFloat
    checkpoint_every: PositiveInt
    seed: NonNegativeInt

    @property
    def maps(self) -> list[int]:
        """The one timestep that it looks at."""
        return [self.t_sec]

    def settings(self) -> dict[str, Json]:
        """All but how often it is saved."""
        return {name: value for name, value in asdict(self).items() if name != "checkpoint_every"}

    def fit_and_score(
        self,
        signals: Signals,
        fit_rows: NDArray[np.int64],
        is_member: NDArray[np.bool_],
        workspace: Path,
        runtime: Runtime,
        logger: Logger | None,
    ) -> Scores:
        """Train on the maps of ``fit_rows``, score all maps."""
        maps = signals.maps[self.t_sec]
        train = np.array(maps[fit_rows])
        torch.manual_seed(self.seed)
        module = ErrorMapTraining(error_map_network(maps.shape[1]), self)
        steps_per_epoch = len(train) // min(self.batch_size, len(train))
        fit(
            module,
            TrainingBatches(train, is_member.astype(np.float32), batch_size=self.batch_size, seed=self.seed),
            name="nn",
            workspace=workspace,
            runtime=runtime,
            logger=logger,
            max_steps=self.epochs * steps_per_epoch,
            checkpoint_every=self.checkpoint_every,
        )
        shutil.rmtree(workspace / CHECKPOINTS, ignore_errors=True)
        batches = in_order(maps, batch_size=runtime.query_batch_size)
        predictions: Any = runtime.trainer().predict(module, batches)
        return torch.cat(predictions).double().cpu().numpy()


class ErrorMapTraining(pl.LightningModule):
    """The classifier as Lightning trains it."""

    def __init__(self, network: nn.Module, recipe: ErrorMapClassifier):
        super().__init__()
        self.network, self.recipe = network, recipe

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Squared error of the output against the label."""
        seed_step(self.recipe.seed, self.global_step)
        maps, labels = batch
        loss = nn.functional.mse_loss(self.network(maps.float()).squeeze(1), labels)
        self.log("nn/loss", loss, prog_bar=True)
        return loss

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """The output, [B]."""
        output: Tensor = self.network(batch[0].float()).squeeze(1)
        return output

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        recipe = self.recipe
        return torch.optim.SGD(
            self.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
