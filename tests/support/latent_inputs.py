"""Inputs of a target that doesn't take pixels."""

from typing import Any

from secmi_exp.targets.interface import Inputs


class Latents:
    """What an attack in pixel space has to refuse before it is computed."""

    key = "latents"

    def arrays(self) -> Any: ...

    def texts(self) -> dict[str, Any]:
        return {}

    def facts(self) -> dict[str, Any]:
        return {}


def latent_inputs(*given: object) -> Inputs:
    """Stand in the place of `PreparedTarget.inputs`."""
    return Latents()
