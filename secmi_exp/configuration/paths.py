"""Paths in settings: ``~`` at the start stands for a home directory, as it does in a shell, and none may be empty.

Settings are expanded by their type, see `user_path`; Hydra's own folders by the resolver ``expand_home``.
"""

import os
from pathlib import Path

from omegaconf import DictConfig

from secmi_exp.errors import UserError
from secmi_exp.formatting import shown


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
