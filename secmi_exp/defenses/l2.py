"""An L2 penalty on the weights.

Source: the authors of SecMI train with ``torch.optim.Adam(weight_decay=5e-4)`` (main.py), whose decay is added to the
gradient. AdamW's is not: at the learning rates here it would take a millionth of a weight in a step, and 5e-4 is less
than what AdamW has by default. Where a recipe has AdamW, Adam with the same arguments therefore takes its place.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, PositiveFloat
from pydantic.dataclasses import dataclass

from secmi_exp.defenses.defense import Defense, Recipe
from secmi_exp.files.strict_json import Json


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class L2(Defense):
    """Weight decay in the optimizer."""

    weight_decay: PositiveFloat

    def recipe_changes(self, recipe: Recipe) -> Mapping[str, Any]:
        """Set the optimizer's weight decay, and Adam in place of AdamW."""
        optimizer = {**recipe.optimizer, "weight_decay": self.weight_decay}
        if str(optimizer.get("_target_")).endswith(".AdamW"):
            optimizer["_target_"] = "torch.optim.Adam"
        return {"optimizer": optimizer}

    def settings(self) -> dict[str, Json]:
        """Return nothing: the recipe decides the weights."""
        return {}
