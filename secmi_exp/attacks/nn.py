"""SecMI_NN: a ResNet-18 on the absolute error map. Source: Duan et al. (ICML 2023) and their released code."""

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
from secmi_exp.training import fit, seed_step


def error_map_network(channels: int) -> nn.Module:
    """ResNet-18 for small images: a 3×3 stem of stride 1 and no max-pool; one output. Any height and width."""
    network: nn.Module = resnet18(num_classes=1)
    network.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ErrorMapClassifier:
    """Trained by squared error against 1 for members and 0 for hold-outs; the last step's weights score.

    The maps are divided by their standard deviation on the fitted part: their raw size, often below 0.01, is no match
    for the ε of batch normalisation.
    """

    version: ClassVar[int] = 1
    reads_maps: ClassVar[bool] = True

    epochs: PositiveInt
    min_steps: PositiveInt
    batch_size: Annotated[int, Field(ge=2)]
    lr: PositiveFloat
    momentum: NonNegativeFloat
    weight_decay: NonNegativeFloat
    checkpoint_every: PositiveInt
    seed: NonNegativeInt

    def settings(self) -> dict[str, Json]:
        """All but how often it is saved."""
        return {name: value for name, value in asdict(self).items() if name != "checkpoint_every"}

    def fit_and_score(
        self,
        signals: Signals,
        t_sec: int,
        fit_rows: NDArray[np.int64],
        is_member: NDArray[np.bool_],
        workspace: Path,
        runtime: Runtime,
        logger: Logger | None,
    ) -> Scores:
        """Train on the maps of ``fit_rows``, score all maps."""
        maps = signals.maps[t_sec]
        train = np.array(maps[fit_rows])
        scale = float(train.astype(np.float32).std()) or 1.0
        torch.manual_seed(self.seed)
        module = ErrorMapTraining(error_map_network(maps.shape[1]), scale, self)
        steps_per_epoch = len(train) // min(self.batch_size, len(train))
        fit(
            module,
            TrainingBatches(train, is_member.astype(np.float32), batch_size=self.batch_size, seed=self.seed),
            name="nn",
            workspace=workspace,
            runtime=runtime,
            logger=logger,
            max_steps=max(self.epochs * steps_per_epoch, self.min_steps),
            checkpoint_every=self.checkpoint_every,
        )
        batches = in_order(maps, batch_size=runtime.query_batch_size)
        predictions: Any = runtime.trainer().predict(module, batches)
        return torch.cat(predictions).double().cpu().numpy()


class ErrorMapTraining(pl.LightningModule):
    """The classifier as Lightning trains it."""

    def __init__(self, network: nn.Module, scale: float, recipe: ErrorMapClassifier):
        super().__init__()
        self.network, self.scale, self.recipe = network, scale, recipe

    def forward(self, maps: Tensor) -> Tensor:
        """Error maps [B, C, H, W] to one output each, [B]."""
        output: Tensor = self.network(maps.float() / self.scale).squeeze(1)
        return output

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Squared error of the output against the label."""
        seed_step(self.recipe.seed, self.global_step)
        maps, labels = batch
        loss = nn.functional.mse_loss(self(maps), labels)
        self.log("nn/loss", loss, prog_bar=True)
        return loss

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
