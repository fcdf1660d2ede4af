"""Training steps that are the same on any number of devices: shared random draws, the optimizer, clipping."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import get_class
from numpy.typing import NDArray
from torch import Tensor

from secmi_exp.engine.batches import Piece
from secmi_exp.engine.training import seed_step
from secmi_exp.engine.training_step import TrainingStep
from secmi_exp.errors import UserError, first_line
from secmi_exp.random_streams import Purpose


@dataclass(frozen=True)
class Draws:
    """Random numbers of a training step, drawn for the whole batch; a piece of the batch takes those of its samples.

    On any number of devices, and in any number of parts, a step is the same but for the order of summation and for
    what is drawn after `apart`.
    """

    piece: Piece
    device: torch.device
    seed: int
    step: int

    def begin(self) -> None:
        """Seed the generators so that all pieces of the batch draw the same numbers."""
        seed_step(self.device, self.seed, self.step)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, [B, *shape]; the same in every precision of the training."""
        return self._mine(torch.randn(self._drawn, *shape, device=self.device, dtype=torch.float32))

    def integers(self, below: int) -> Tensor:
        """Uniform in 0 … below − 1, [B]."""
        return self._mine(torch.randint(below, (self._drawn,), device=self.device))

    def choices(self, below: int, each: int) -> NDArray[np.int64]:
        """Uniform in 0 … below − 1, [B, each], drawn on the host, which needs to know them to choose what to do."""
        choices: NDArray[np.int64] = self._mine(torch.randint(below, (self._drawn, each))).numpy()
        return choices

    def happens(self, probability: float) -> Tensor:
        """True with this probability, [B]."""
        return self._mine(torch.rand(self._drawn, device=self.device)) < probability

    def apart(self) -> None:
        """Seed the generators for this piece alone, apart from all drawn so far, as dropout in the network needs it."""
        seed_step(self.device, self.seed, self.step, self.piece.start, Purpose.WITHIN_NETWORK)

    @property
    def _drawn(self) -> int:
        """Number of samples that numbers are drawn for."""
        return self.piece.total

    def _mine(self, whole: Tensor) -> Tensor:
        return whole[self.piece.start : self.piece.stop]


class DrawsApart(Draws):
    """Random numbers drawn for each piece alone: memory for the piece only, but other pieces make another step."""

    def begin(self) -> None:
        """Seed the generators for this piece alone."""
        seed_step(self.device, self.seed, self.step, self.piece.start)

    def apart(self) -> None:
        """Do nothing: the piece draws for itself already."""

    @property
    def _drawn(self) -> int:
        return self.piece.stop - self.piece.start

    def _mine(self, whole: Tensor) -> Tensor:
        return whole


class Optimization(pl.LightningModule, ABC):
    """Steps of an optimizer on a loss over pieces of batches.

    Args:
        optimizer: its class as ``_target_``, and its arguments.
        setting: key of the optimizer's settings, for messages.
        warmup_steps: steps of the linear learning-rate warm-up.
        seed: seeds all that is drawn.
        fused: whether the optimizer's step is one operation where it can be; float16's scaling of gradients forbids it.
        step: the step to take in place of the ordinary one.
    """

    def __init__(
        self,
        optimizer: Mapping[str, object],
        setting: str,
        warmup_steps: int,
        seed: int,
        *,
        fused: bool = True,
        step: TrainingStep | None = None,
    ):
        super().__init__()
        self.optimizer_settings, self.setting, self.warmup_steps = optimizer, setting, warmup_steps
        self.seed, self.fused, self.step = seed, fused, step
        self.automatic_optimization = not (step and step.manual)

    @abstractmethod
    def loss(self, arrays: list[Tensor], draws: Draws) -> Tensor:
        """Return the mean loss over the samples of a piece, whose arrays these are."""

    def on_fit_start(self) -> None:
        """Choose the memory layout that CUDA's convolutions are fastest in."""
        if self.device.type == "cuda" and self.automatic_optimization:
            self.to(memory_format=torch.channels_last)

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        """Take the defense's step, or the ordinary one."""
        return self.step.take(self, batch) if self.step else self.ordinary_step(batch)

    def ordinary_step(self, batch: list[Any]) -> Tensor:
        """Return the piece's share of the batch's loss."""
        *arrays, piece = batch
        draws = Draws(piece, self.device, self.seed, self.global_step)
        draws.begin()
        pieces = self.trainer.world_size * self.trainer.accumulate_grad_batches
        share: float = len(arrays[0]) * pieces / piece.total
        return self.loss(arrays, draws) * share

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the L2 norm of all gradients; Lightning itself refuses to for fused optimizers in bfloat16."""
        if gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        """Make the optimizer, with linear warm-up.

        Raises:
            UserError: for settings that torch refuses.
        """
        optimizer, warmup = self._optimizer(), max(1, self.warmup_steps)
        if self.step:
            optimizer = self.step.wrap_optimizer(optimizer, self)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _optimizer(self) -> torch.optim.Optimizer:
        settings: dict[str, Any] = dict(self.optimizer_settings)
        try:
            kind = get_class(str(settings.pop("_target_", None)))
            if self.fused and "fused" in inspect.signature(kind).parameters:
                settings.setdefault("fused", True)
            optimizer: torch.optim.Optimizer = kind(
                [weights for weights in self.parameters() if weights.requires_grad], **settings
            )
        except Exception as error:  # whatever the optimizer raises for its arguments
            raise UserError(f"torch refuses {self.setting}: {first_line(error)}.") from error
        return optimizer
