"""How Lightning's trainers are made for a run's machine, and what torch and Lightning are set to beside them."""

import logging
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from secmi_exp.engine.checkpoint_files import CheckpointFiles
from secmi_exp.engine.collectives import rank_info
from secmi_exp.engine.rank_info import RankInfo
from secmi_exp.engine.runtime import Precision, Runtime
from secmi_exp.engine.sigterm import keep_handler
from secmi_exp.engine.step_progress import StepProgressBar
from secmi_exp.errors import UserError

TRAINING: dict[str, Literal["64-true", "32-true", "bf16-mixed", "16-mixed"]] = {
    "64": "64-true",
    "32": "32-true",
    "tf32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}
"""Precision → Lightning's name for training in it."""


QUERIES = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}
"""Precision → type that a target's weights are cast to when it is queried; float32 where it isn't listed."""


def query_dtype(precision: Precision) -> torch.dtype:
    """Return the type that the target's weights are cast to when it is queried in a precision."""
    return QUERIES.get(precision, torch.float32)


def has_bfloat16(runtime: Runtime) -> bool:
    """Whether this rank's device multiplies bfloat16 natively: faster than float32, rather than by converting.

    CUDA from compute capability 8.0 on; CPUs with AVX512-BF16 or AMX-BF16, or Arm's BF16, as far as torch can tell.
    """
    device = first_device(runtime)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.10
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def encoder_dtype(runtime: Runtime) -> torch.dtype:
    """Return the type that encoders of a target's inputs compute in; see `Runtime.encoder_precision`."""
    dtype: torch.dtype = getattr(torch, runtime.encoder_precision)
    return dtype


def first_device(runtime: Runtime) -> torch.device:
    """Return this rank's device."""
    return _first_device(runtime, rank_info())


@cache  # a trainer searches all installed packages for callbacks
def _first_device(runtime: Runtime, info: RankInfo) -> torch.device:
    return make_trainer(runtime).strategy.root_device


def accumulated_parts(runtime: Runtime, batch_size: int) -> int:
    """Return the number of parts in which each device takes its share of a training batch."""
    share = -(-batch_size // rank_info().world_size)
    return -(-share // runtime.device_batch_size) if runtime.device_batch_size else 1


def make_trainer(
    runtime: Runtime,
    *,
    training: bool = False,
    gradients: bool = False,
    logger: Logger | None = None,
    callbacks: Sequence[pl.Callback] = (),
    max_steps: int = -1,
    gradient_clip: float | None = None,
    accumulate: int = 1,
    val_check_interval: int | None = None,
    log_every: int = 50,
    label: str = "Predicting",
) -> pl.Trainer:
    """Make a trainer that shows its progress, and writes only what its callbacks write.

    Args:
        runtime: the machine.
        training: whether modules are trained, in ``precision``; otherwise they keep their own.
        gradients: whether predictions need gradients of their own.
        logger: where metrics go; None: nowhere.
        callbacks: besides the progress and what keeps SIGTERM's handler.
        max_steps: optimizer steps; −1: no limit.
        gradient_clip: L2 norm that gradients are clipped to; None: unclipped.
        accumulate: batches an optimizer step.
        val_check_interval: optimizer steps between validations; None: none.
        log_every: steps between logged metrics.
        label: name of the work in the progress bar.

    Raises:
        UserError: where the accelerator, or so many devices of it, aren't there.
    """
    put_back = keep_handler()
    signals = pl.callbacks.LambdaCallback(on_train_start=put_back, on_predict_start=put_back)
    quiet_lightning()
    allow_tf32(precision := runtime.precision if training else runtime.query_precision)
    info = rank_info()
    try:
        return pl.Trainer(
            accelerator=runtime.accelerator,
            devices=runtime.devices if info.world_size > 1 else 1,
            num_nodes=runtime.nodes if info.world_size > 1 else 1,
            strategy=_ddp(info) if info.world_size > 1 else "auto",
            plugins=[
                CheckpointFiles(),
                *([] if info.world_size > 1 else [LightningEnvironment()]),  # nor does it count SLURM's tasks
            ],
            inference_mode=not gradients,
            use_distributed_sampler=False,  # every rank's batches are its own already
            precision=TRAINING[precision] if training else "32-true",
            logger=logger or False,
            callbacks=[*callbacks, signals, *([StepProgressBar(label)] if runtime.progress_bar else [])],
            max_epochs=-1,
            max_steps=max_steps,
            gradient_clip_val=gradient_clip,
            accumulate_grad_batches=accumulate,
            val_check_interval=val_check_interval and val_check_interval * accumulate,
            check_val_every_n_epoch=None if val_check_interval else 1,
            num_sanity_val_steps=0,
            log_every_n_steps=log_every,
            enable_checkpointing=any(isinstance(each, pl.callbacks.ModelCheckpoint) for each in callbacks),
            enable_progress_bar=runtime.progress_bar,
            enable_model_summary=False,
        )
    except MisconfigurationException as error:
        raise UserError(
            f"trainer.accelerator={runtime.accelerator} with trainer.devices={runtime.devices} can't be used here "
            f"({error}): choose cpu or auto, and as many devices as there are."
        ) from error


def _ddp(info: RankInfo) -> DDPStrategy:
    """Make the strategy for processes that run and are connected already."""

    class Connected(ClusterEnvironment):
        """What Lightning asks about this process."""

        creates_processes_externally = True
        main_address, main_port = info.address, info.port

        @staticmethod
        def detect() -> bool:
            return True

        def world_size(self) -> int:
            return info.world_size

        def global_rank(self) -> int:
            return info.rank

        def local_rank(self) -> int:
            return info.local_rank

        def node_rank(self) -> int:
            return info.node

        def set_world_size(self, size: int) -> None:
            assert size == info.world_size

        def set_global_rank(self, rank: int) -> None:
            assert rank == info.rank

    return DDPStrategy(cluster_environment=Connected(), gradient_as_bucket_view=True)


def allow_tf32(precision: Precision) -> None:
    """Set whether CUDA may compute products of float32 in TensorFloat-32; by default its convolutions may."""
    torch.set_float32_matmul_precision("highest" if precision in ("32", "64") else "high")
    torch.backends.cudnn.allow_tf32 = precision not in ("32", "64")


def quiet_lightning() -> None:
    """Silence Lightning's messages about devices and hooks, which every trainer repeats; its other warnings stay."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")  # a resumed run means to continue there
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")  # Lightning 2.6, torch ≥ 2.12
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # batches are slices of an array
    warnings.filterwarnings("ignore", message=".*local rank has zero length.*")  # fewer batches than ranks
