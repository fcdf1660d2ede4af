"""The settings of SecMI_NN's classifier."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.errors import UserError


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SmallSettings:
    """Two 3×3 convolutions, a global average and one output, trained by cross-entropy and AdamW.

    Cross-validation takes the best combination of the lists; where there are too few maps for it, the first of each is
    taken.
    """

    widths: Annotated[list[PositiveInt], Field(min_length=1)]
    """Channels of a convolution."""
    weight_decays: Annotated[list[NonNegativeFloat], Field(min_length=1)]
    steps: Annotated[list[PositiveInt], Field(min_length=1)]
    """Optimizer steps."""
    lr: PositiveFloat
    batch_size: Annotated[int, Field(ge=2)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ClassifierSettings:
    """The fields of ``attack.scorers.nn`` in ``conf/attack/nn.yaml``."""

    network: Literal["auto", "resnet18", "small"]
    """resnet18: the paper's, on the maps at t_sec (and at timesteps that are stacked by name). auto: the one that
    separates the attack-train part better in cross-validation."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Number of folds of the cross-validation. Only resnet18 needs neither this nor ``small``."""
    small: SmallSettings | None = None
    """The small network and its training."""
    epochs: PositiveInt
    """Passes over the fitted maps, of the ResNet-18; the fields below are also its own, but for the last two."""
    min_steps: PositiveInt
    """Optimizer steps where the passes are fewer."""
    batch_size: Annotated[int, Field(ge=2)]
    lr: PositiveFloat
    momentum: NonNegativeFloat
    weight_decay: NonNegativeFloat
    checkpoint_every: PositiveInt
    seed: NonNegativeInt

    def __post_init__(self) -> None:
        """Refuse a choice without what it chooses from.

        Raises:
            UserError: naming what is missing.
        """
        missing = [name for name in ("folds", "small") if getattr(self, name) is None]
        if self.network != "resnet18" and missing:
            raise UserError(
                f"The classifier of error maps has network={self.network} and {missing[0]}=null: set {missing[0]} as "
                "conf/attack/nn.yaml does, or choose network=resnet18."
            )
