"""Paths in settings: ``~`` at the start stands for a home directory, as it does in a shell, and none may be empty."""

import os
from pathlib import Path

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from secmi_exp.errors import UserError
from secmi_exp.formatting import shown

PATHS = frozenset({"path", "members", "holdout", "holdouts", "references", "root", "inception", "blip", "weights"})
"""Settings of any group that hold paths; beside them all of ``paths``."""


def expand_home(path: str) -> str:
    """The path, absolute where it begins with ``~`` or with the ``~user`` of a user there is.

    Raises:
        UserError: for an empty path, and for what is none.
    """
    if not isinstance(path, str) or not path:
        raise UserError(f"{shown(path)} is given where a path is wanted: set paths.output to one.")
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:  # nobody of that name
        return path


def from_environment(name: str, default: str) -> str:
    """The value of an environment variable; the default where it is not set, or empty."""
    return os.environ.get(name) or default


def not_empty(path: str | None, setting: str) -> str:
    """The path, which other paths begin with: below an empty one they would lie in the root folder.

    Raises:
        UserError: where it is empty.
    """
    if not path:
        raise UserError(f"{setting} is empty: name a folder, or leave the setting out.")
    return path


def refuse_empty(config: DictConfig) -> None:
    """Refuse a path that is empty, for which the working directory would be taken.

    Args:
        config: composed, with the group ``paths``.

    Raises:
        UserError: naming the setting.
    """
    for key in config.paths:
        not_empty(config.paths[key], f"paths.{key}")


def expand_homes(config: DictConfig) -> None:
    """Expand the paths of a composed configuration in place."""
    for name, group in config.items_ex(resolve=False):
        if isinstance(group, DictConfig):
            for key in group:
                if name == "paths" or key in PATHS:
                    _expand(group, str(key))


def _expand(group: DictConfig, key: str) -> None:
    try:
        value = group[key]
    except OmegaConfBaseException:  # reported when the group is instantiated
        return
    if isinstance(value, str) and value.startswith("~"):
        group[key] = expand_home(value)
