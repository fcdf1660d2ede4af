"""What a defense may change in a target's training: the recipe, what the network sees, or nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from secmi_exp.errors import UserError
from secmi_exp.store import Json

if TYPE_CHECKING:  # torch is heavy, and a run that reuses its target needs none of it
    from torch import Tensor

    from secmi_exp.engine.optimization import Draws
    from secmi_exp.targets.pixel.ddpm import DDPM


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Defense:
    """A choice of ``conf/defense``; each subclass changes what it is about."""

    name: str

    def recipe(self, recipe: DDPM) -> DDPM:
        """The recipe to train by in place of the given one."""
        return recipe

    def model_input(self, images: Tensor, draws: Draws) -> Tensor:
        """What the network is trained on: float32 in [−1, 1] of uint8 images, both [B, C, H, W]."""
        from secmi_exp.data.images import to_model_range

        return to_model_range(images)

    def warn_of(self, samples: int) -> None:
        """Warn of settings that don't protect a training set of so many images."""

    def settings(self) -> dict[str, Json]:
        """What decides the weights besides the recipe; empty where the recipe tells all."""
        given: dict[str, Any] = asdict(self)
        del given["name"]
        return {"kind": type(self).__qualname__, **given}


class Undefended(Defense):
    """The training as its recipe has it."""

    def settings(self) -> dict[str, Json]:
        """Nothing, so that the target has the key that it had before there were defenses."""
        return {}


def made(config: object) -> object:
    """The defense that a node with a ``_target_`` describes; anything else as it is.

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
