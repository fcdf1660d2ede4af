"""The machine that a run has: how many devices, and in what precision and batches they compute."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.engine import launch

T = TypeVar("T")

MakeLogger = Callable[[], Any]
"""Returns Lightning's logger for training metrics, or None; called only when something is trained."""

Precision = Annotated[Literal["64", "32", "tf32", "bf16", "16"], BeforeValidator(str)]
"""float64; float32; float32 whose products may be TensorFloat-32; bfloat16 and float16, with float32 for sums."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Runtime:
    """Devices of one machine or of several; the fields are those of ``conf/trainer/auto.yaml``."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    devices: Annotated[int, Field(gt=0, le=64)]
    nodes: Annotated[int, Field(gt=0, le=10_000)]
    precision: Precision
    query_precision: Precision
    approach_precision: Annotated[Precision | Literal["auto"], BeforeValidator(str)]
    """Precision of predictions that only move a state on to those that are compared; auto: bfloat16 where it is native
    and saves time, else ``query_precision``."""
    query_batch_size: PositiveInt | Literal["auto"]
    """Images a batch, and a device, when the target is queried."""
    device_batch_size: PositiveInt | None
    """Images that a device takes at once in training; larger batches are accumulated. None: any number."""
    compile: bool | Literal["auto"]
    """Whether `torch.compile` is used; auto: on CUDA, once it repays."""
    progress_bar: bool

    def run_on_all_ranks(self, stage: Callable[..., T], *arguments: Any, **rank_0_keywords: Any) -> T:
        """Carry out a stage on all devices at once.

        Args:
            stage: a function of a module.
            arguments: the same on every rank; what can be pickled.
            rank_0_keywords: keyword arguments that only rank 0 has, such as a logger; the other ranks get None.

        Returns:
            The stage's result on rank 0.
        """
        if self.devices * self.nodes == 1 and not launch.launched_rank():
            return stage(*arguments, **rank_0_keywords)
        group = launch.rank_group(self.devices, self.nodes)
        result: T = group.run_on_all_ranks(stage, *arguments, devices=self.devices, rank_0_keywords=rank_0_keywords)
        return result

    @property
    def encoder_precision(self) -> Literal["float32", "float64"]:
        """What encoders of a target's inputs compute in: they run once, so that low precision would save nothing."""
        return "float64" if self.query_precision == "64" else "float32"
