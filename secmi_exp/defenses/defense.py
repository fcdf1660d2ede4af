"""What a defense changes in the training of a target: its settings, its images, or its steps."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

import numpy as np
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from numpy.typing import NDArray
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from secmi_exp.data.model_range import to_model_range
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.training_step import TrainingStep
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.torch_on_use import Tensor


class Recipe(Protocol):
    """The settings of a training that defenses read."""

    @property
    def optimizer(self) -> Mapping[str, object]:
        """A torch optimizer's class as ``_target_``, and its arguments."""

    @property
    def batch_size(self) -> int:
        """Samples in a batch."""

    @property
    def max_steps(self) -> int:
        """Number of steps."""

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""


class Draws(Protocol):
    """Random numbers for the B images of a training step, the same on any number of devices."""

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, [B, *shape]."""

    def integers(self, below: int) -> Tensor:
        """Uniform in 0 … below − 1, [B]."""

    def choices(self, below: int, each: int) -> NDArray[np.int64]:
        """Uniform in 0 … below − 1, [B, each], on the host."""

    def happens(self, probability: float) -> Tensor:
        """True with this probability, [B]."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Defense:
    """A choice of ``conf/defense``. A subclass overrides the methods for what it changes."""

    report_files: ClassVar[tuple[str, ...]] = ()
    """Files that `TrainingStep.save_report` writes beside the weights."""

    name: str

    def recipe_changes(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return fields of the recipe with the values to train by."""
        return {}

    def refuse_runtime(self, runtime: Runtime) -> None:
        """Refuse a machine on which the defense can't train.

        Raises:
            UserError: naming the setting.
        """

    def check_samples(self, samples: int) -> None:
        """Warn of settings that don't protect a training set of so many images."""

    def model_input(self, images: Tensor, draws: Draws) -> Tensor:
        """Turn uint8 images into what the network is trained on, float32 in [−1, 1]; both [B, C, H, W]."""
        return to_model_range(images)

    def training_step(self, recipe: Recipe, samples: int) -> TrainingStep | None:
        """Return the step to take in place of the ordinary one, for a training on so many samples; None: no other."""
        return None

    def settings(self) -> dict[str, Json]:
        """Return what decides the weights besides the recipe; empty where the recipe decides them all."""
        given: dict[str, Any] = asdict(self)
        del given["name"]
        return {"kind": type(self).__qualname__, **given}


class Undefended(Defense):
    """Training without a defense."""

    def settings(self) -> dict[str, Json]:
        """Return nothing, so that the target has the key that it had before there were defenses."""
        return {}


def make_defense(config: object) -> object:
    """Instantiate a node that has a ``_target_``; return anything else as it is.

    Raises:
        UserError: for a setting that the defense refuses.
    """
    if not (isinstance(config, dict) and "_target_" in config):
        return config
    try:
        return instantiate(config)
    except InstantiationException as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        first = error.__cause__.errors()[0]
        key = ".".join(["defense", *(str(part) for part in first["loc"])])
        raise UserError(
            f"{key}={first['input']!r} can't be used: {first['msg'][0].lower()}{first['msg'][1:]}."
        ) from error
