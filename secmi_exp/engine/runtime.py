"""The machine a run has: how many devices, in what precision, and how Lightning trainers are made for it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.engine import ranks
from secmi_exp.engine.sigterm import keep_handler
from secmi_exp.errors import UserError

if TYPE_CHECKING:  # what is heavy is imported when a trainer is made, so that a run that reuses everything starts fast
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.loggers import Logger

T = TypeVar("T")

MakeLogger = Callable[[], "Logger | None"]
"""Gives the place where training metrics go, when something is trained."""

Precision = Annotated[Literal["64", "32", "tf32", "bf16", "16"], BeforeValidator(str)]
"""float64; float32; float32 whose products may be TensorFloat-32; bfloat16 and float16, with float32 for sums."""

TRAINING: dict[str, Literal["64-true", "32-true", "bf16-mixed", "16-mixed"]] = {
    "64": "64-true",
    "32": "32-true",
    "tf32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}
"""Precision → Lightning's name for training in it."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Runtime:
    """Some devices, of one machine or of several; its fields are those of ``conf/trainer/auto.yaml``."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    devices: Annotated[int, Field(gt=0, le=64)]
    nodes: Annotated[int, Field(gt=0, le=10_000)]
    precision: Precision
    query_precision: Precision
    query_batch_size: PositiveInt | Literal["auto"]
    """Images a batch, and a device, when the target is queried."""
    device_batch_size: PositiveInt | None
    """Images that a device takes at once in training; larger batches are accumulated. None: any number."""
    compile: bool | Literal["auto"]
    """Whether `torch.compile` is used; auto: on CUDA, once it repays."""
    progress_bar: bool

    def everywhere(self, stage: Callable[..., T], *arguments: Any, logger: Logger | None = None) -> T:
        """Carry out a stage on all devices at once.

        Args:
            stage: a function of a module, called with ``arguments`` and the keyword ``logger`` on each rank.
            arguments: what can be pickled.
            logger: rank 0's; the other ranks get None.

        Returns:
            What the stage gave on rank 0.
        """
        if self.devices * self.nodes == 1 and not ranks.launched_from_outside():
            return stage(*arguments, logger=logger)
        team = ranks.team(self.devices, self.nodes)
        return team.everywhere(stage, *arguments, devices=self.devices, logger=logger)

    def accumulated(self, batch_size: int) -> int:
        """Parts that each device takes its share of a training batch in."""
        share = -(-batch_size // rank_info().world_size)
        return -(-share // self.device_batch_size) if self.device_batch_size else 1

    @property
    def first_device(self) -> torch.device:
        """Rank 0's, for what isn't worth sharing out."""
        return self.trainer().strategy.root_device

    @property
    def query_dtype(self) -> torch.dtype:
        """What the target's weights are cast to when it is queried."""
        import torch

        low = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}
        return low.get(self.query_precision, torch.float32)

    @property
    def encoder_precision(self) -> Literal["float32", "float64"]:
        """What encoders of a target's inputs compute in: they run once, so that low precision would save nothing."""
        return "float64" if self.query_precision == "64" else "float32"

    @property
    def encoder_dtype(self) -> torch.dtype:
        """The same as torch has it."""
        import torch

        return torch.float64 if self.query_precision == "64" else torch.float32

    def trainer(
        self,
        *,
        training: bool = False,
        logger: Logger | None = None,
        callbacks: Sequence[pl.Callback] = (),
        max_steps: int = -1,
        gradient_clip: float | None = None,
        accumulate: int = 1,
        val_check_interval: int | None = None,
        log_every: int = 50,
    ) -> pl.Trainer:
        """A trainer with the progress bar on standard error and nothing written that its callbacks don't write.

        Args:
            training: in ``precision``; otherwise modules stay as they are.
            logger: where metrics go; None: nowhere.
            callbacks: besides the progress bar and what keeps SIGTERM's handler.
            max_steps: optimizer steps; −1: no limit.
            gradient_clip: L2 norm that gradients are clipped to; None: unclipped.
            accumulate: batches an optimizer step.
            val_check_interval: optimizer steps between validations; None: none.
            log_every: steps between logged metrics.

        Raises:
            UserError: where the accelerator, or so many devices of it, aren't there.
        """
        import pytorch_lightning as pl
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        from secmi_exp.engine.checkpoint_files import CheckpointFiles
        from secmi_exp.engine.step_progress import StepProgressBar

        put_back = keep_handler()
        signals = pl.callbacks.LambdaCallback(on_train_start=put_back, on_predict_start=put_back)
        quiet_lightning()
        allow_tf32(precision := self.precision if training else self.query_precision)
        place = rank_info()
        try:
            return pl.Trainer(
                accelerator=self.accelerator,
                devices=self.devices if place.world_size > 1 else 1,
                num_nodes=self.nodes if place.world_size > 1 else 1,
                strategy=_ddp(place) if place.world_size > 1 else "auto",
                plugins=[
                    CheckpointFiles(),
                    *([] if place.world_size > 1 else [LightningEnvironment()]),  # nor does it count SLURM's tasks
                ],
                use_distributed_sampler=False,  # every rank's batches are its own already
                precision=TRAINING[precision] if training else "32-true",
                logger=logger or False,
                callbacks=[*callbacks, signals, *([StepProgressBar()] if self.progress_bar else [])],
                max_epochs=-1,
                max_steps=max_steps,
                gradient_clip_val=gradient_clip,
                accumulate_grad_batches=accumulate,
                val_check_interval=val_check_interval and val_check_interval * accumulate,
                check_val_every_n_epoch=None if val_check_interval else 1,
                num_sanity_val_steps=0,
                log_every_n_steps=log_every,
                enable_checkpointing=any(isinstance(each, pl.callbacks.ModelCheckpoint) for each in callbacks),
                enable_progress_bar=self.progress_bar,
                enable_model_summary=False,
            )
        except MisconfigurationException as error:
            raise UserError(
                f"trainer.accelerator={self.accelerator} with trainer.devices={self.devices} can't be used here "
                f"({error}): choose cpu or auto, and as many devices as there are."
            ) from error


def _ddp(place: RankInfo) -> pl.strategies.DDPStrategy:
    """Data-parallel over processes that are there and connected already."""
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from pytorch_lightning.strategies import DDPStrategy

    class Connected(ClusterEnvironment):
        """Tells Lightning which process this is."""

        creates_processes_externally = True
        main_address, main_port = place.address, place.port

        @staticmethod
        def detect() -> bool:
            return True

        def world_size(self) -> int:
            return place.world_size

        def global_rank(self) -> int:
            return place.rank

        def local_rank(self) -> int:
            return place.local_rank

        def node_rank(self) -> int:
            return place.node

        def set_world_size(self, size: int) -> None:
            assert size == place.world_size

        def set_global_rank(self, rank: int) -> None:
            assert rank == place.rank

    return DDPStrategy(cluster_environment=Connected(), gradient_as_bucket_view=True)


def allow_tf32(precision: Precision) -> None:
    """Let CUDA take TensorFloat-32 for products of float32, or keep it from that; by default its convolutions may."""
    import torch

    torch.set_float32_matmul_precision("highest" if precision in ("32", "64") else "high")
    torch.backends.cudnn.allow_tf32 = precision not in ("32", "64")


def quiet_lightning() -> None:
    """What Lightning says of devices and hooks at every trainer is noise beside a run's own log; warnings stay."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")  # a resumed run means to continue there
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")  # Lightning 2.6, torch ≥ 2.12
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # batches are slices of an array
    warnings.filterwarnings("ignore", message=".*local rank has zero length.*")  # fewer batches than ranks


def usable_processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
