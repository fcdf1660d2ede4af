"""The settings of a pixel-space target's training."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.defenses.defense import Defense, make_defense
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.noise_schedule import FlowSchedule, NoiseSchedule

PICTURE = "samples.png"
"""File with images that the target generates when its training has ended."""

Architecture = Literal["UNet2DModel", "DiTTransformer2DModel"]
"""Class of a pixel-space network, in diffusers."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PixelRecipe:
    """Network, path, optimizer and defense."""

    name: str
    architecture: Architecture = "UNet2DModel"
    network: Settings
    """Arguments of the architecture; where it takes class labels, it is trained with those of the members."""
    schedule: NoiseSchedule | FlowSchedule
    """The path that it is trained on."""
    optimizer: Settings
    """A torch optimizer's class as ``_target_``, and its arguments."""
    batch_size: PositiveInt
    max_steps: PositiveInt
    warmup_steps: NonNegativeInt
    gradient_clip: PositiveFloat
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    horizontal_flip: bool
    defense: Annotated[InstanceOf[Defense], BeforeValidator(make_defense)]
    checkpoint_every: PositiveInt
    sample_every: PositiveInt
    seed: NonNegativeInt
