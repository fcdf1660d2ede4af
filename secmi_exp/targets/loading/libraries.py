"""The two libraries that have the networks, imported when one of their classes is asked for."""

from pkgutil import resolve_name
from typing import Any

from secmi_exp.targets.loading.weight_files import Library


def network_class(library: Library, name: str) -> Any:
    """Import a network's class; only here are diffusers and transformers loaded."""
    return resolve_name(f"{library}:{name}")
