"""The settings of DP-SGD, and the file of the privacy spent."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

PRIVACY = "privacy.json"
"""File beside a target's weights with the privacy spent on them."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DPSGDSettings:
    """Settings of the mechanism, and of its accounting."""

    noise_multiplier: NonNegativeFloat
    """σ, in units of `max_grad_norm`; 0: clipping alone, which guarantees nothing."""
    max_grad_norm: PositiveFloat
    """C: upper bound of the L2 norm of an image's gradient."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    max_epsilon: PositiveFloat | None
    """ε that the training stops before exceeding."""
    accountant: Literal["rdp", "prv"]
    microbatch_size: PositiveInt
    """Number of images whose own gradients are in memory at once."""
