"""A search for the settings with the best AUC on attack-train images: hydra/sweeper=optuna."""

import sys

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig


def prefer_own_sweeper() -> None:
    """Let conf/hydra/sweeper/optuna.yaml stand for the plugin's configuration of that name, which minimizes.

    Hydra refuses two of one name, and has the plugin's as soon as it knows its plugins.
    """
    Plugins.instance()
    ConfigStore.instance().repo.get("hydra", {}).get("sweeper", {}).pop("optuna.yaml", None)


def search_direction(hydra: HydraConf | DictConfig) -> str | None:
    """Of the search that a job belongs to, maximize or minimize; None where there is none."""
    if hydra.mode != RunMode.MULTIRUN or "direction" not in hydra.sweeper:
        return None
    return str(hydra.sweeper.direction)


def end_without_attack(config: DictConfig, hydra: HydraConf) -> None:
    """End a search whose jobs have no attack, and so no AUC to search by.

    Raises:
        SystemExit: since any other exception costs a search the one job, and it would try the next.
    """
    if search_direction(hydra) and "attack" not in config:
        sys.exit("secmi_exp: A search goes by an attack's AUC, and there is no attack: add +attack=stat or another.")
