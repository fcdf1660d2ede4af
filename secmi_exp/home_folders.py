"""``~`` at the start of a path stands for a home directory in every setting that holds paths, as it does in a shell."""

from pathlib import Path

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from secmi_exp.errors import UserError, shown

PATHS = frozenset({"path", "members", "holdout", "holdouts", "root", "inception", "blip"})
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
    except OmegaConfBaseException:  # told when the group is instantiated
        return
    if isinstance(value, str) and value.startswith("~"):
        group[key] = expand_home(value)
