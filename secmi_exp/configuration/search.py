"""Searches for the settings with the best AUC on attack-train images: hydra/sweeper=optuna."""

import sys

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig


def prefer_own_sweeper() -> None:
    """Use conf/hydra/sweeper/optuna.yaml instead of the plugin's own configuration, which minimizes.

    Hydra refuses two configurations of one name, and registers the plugin's when it loads its plugins.
    """
    Plugins.instance()
    ConfigStore.instance().repo.get("hydra", {}).get("sweeper", {}).pop("optuna.yaml", None)


def share_config_store() -> None:
    """Make Hydra share its store of structured configurations instead of copying it, as it only reads it.

    For --help it copies the whole store once a group, which takes longer than everything else together.
    """
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


def search_direction(hydra: HydraConf | DictConfig) -> str | None:
    """Return what the search of a multirun does with AUC, maximize or minimize; None if it is no search."""
    if hydra.mode != RunMode.MULTIRUN or "direction" not in hydra.sweeper:
        return None
    return str(hydra.sweeper.direction)


def end_without_objective(objective: float | None, hydra: HydraConf) -> None:
    """End a search whose split leaves no attack-train images, and so no AUC to search by.

    Raises:
        SystemExit: as `end_without_attack`.
    """
    if search_direction(hydra) and objective is None:
        sys.exit(
            "secmi_exp: A search goes by the AUC on attack-train images, and the split leaves none: give more images "
            "a side, or set split.attack_train higher."
        )


def end_without_attack(config: DictConfig, hydra: HydraConf) -> None:
    """End a search whose jobs have no attack, and so no AUC to search by.

    Raises:
        SystemExit: any other exception would end this job only, and the search would try the next.
    """
    if search_direction(hydra) and "attack" not in config:
        sys.exit("secmi_exp: A search goes by an attack's AUC, and there is no attack: add +attack=stat or another.")
