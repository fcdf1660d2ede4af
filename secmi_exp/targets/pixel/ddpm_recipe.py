"""The settings of a DDPM's training."""

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.defenses.settings import DefenseSettings, make_defense
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.noise_schedule import NoiseSchedule

PICTURE = "samples.png"
"""File with images that the target generates when its training has ended."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DDPMRecipe:
    """Network, schedule, optimizer and defense."""

    name: str
    network: Settings
    """Arguments of `UNet2DModel`."""
    schedule: NoiseSchedule
    optimizer: Settings
    """A torch optimizer's class as ``_target_``, and its arguments."""
    batch_size: PositiveInt
    max_steps: PositiveInt
    warmup_steps: NonNegativeInt
    gradient_clip: PositiveFloat
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    horizontal_flip: bool
    defense: Annotated[InstanceOf[DefenseSettings], BeforeValidator(make_defense)]
    checkpoint_every: PositiveInt
    sample_every: PositiveInt
    seed: NonNegativeInt
