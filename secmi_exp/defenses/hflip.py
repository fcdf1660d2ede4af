"""Random horizontal flips, which the DDPM's training has already."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from secmi_exp.defenses.defense import Defense
from secmi_exp.store import Json

if TYPE_CHECKING:
    from secmi_exp.targets.pixel.ddpm import DDPM


class HorizontalFlip(Defense):
    """Switches the flips on; for a dataset whose recipe flips anyway, the target stays the same."""

    def recipe(self, recipe: DDPM) -> DDPM:
        """With flips."""
        return replace(recipe, horizontal_flip=True)

    def settings(self) -> dict[str, Json]:
        """The recipe tells all."""
        return {}
