"""Random horizontal flips, which the DDPM's training can already do."""

from collections.abc import Mapping
from typing import Any

from secmi_exp.defenses.defense import Defense, Recipe
from secmi_exp.files.strict_json import Json


class HorizontalFlip(Defense):
    """Switches the flips on; for a dataset whose recipe flips anyway, the target stays the same."""

    def recipe_changes(self, recipe: Recipe) -> Mapping[str, Any]:
        """Switch the flips on."""
        return {"horizontal_flip": True}

    def settings(self) -> dict[str, Json]:
        """Return nothing: the recipe decides the weights."""
        return {}
