"""An L2 penalty on the weights.

Source: the authors of SecMI train with ``torch.optim.Adam(weight_decay=5e-4)`` (main.py), whose decay is added to the
gradient. AdamW's is not: at the learning rates here it would take a millionth of a weight in a step, and 5e-4 is less
than what AdamW has by default. Where a recipe has AdamW, Adam with the same arguments therefore takes its place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ConfigDict, PositiveFloat
from pydantic.dataclasses import dataclass

from secmi_exp.defenses.defense import Defense
from secmi_exp.store import Json

if TYPE_CHECKING:
    from secmi_exp.targets.pixel.ddpm import DDPM


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class L2(Defense):
    """Weight decay in the optimizer."""

    weight_decay: PositiveFloat

    def recipe(self, recipe: DDPM) -> DDPM:
        """With weight decay."""
        optimizer = recipe.optimizer | {"weight_decay": self.weight_decay}
        if str(optimizer.get("_target_")).endswith(".AdamW"):
            optimizer["_target_"] = "torch.optim.Adam"
        return replace(recipe, optimizer=optimizer)

    def settings(self) -> dict[str, Json]:
        """The recipe tells all."""
        return {}
