"""Checks of all settings before the first stage of a run."""

from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from secmi_exp.attacks.attack import TargetFree
from secmi_exp.configuration.components import Components
from secmi_exp.configuration.setting_errors import naming
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.store import Store
from secmi_exp.targets.interface import SupportsDryRun


@dataclass(frozen=True)
class Preparation:
    """The components, the store and the configuration of a run."""

    parts: Components
    store: Store
    resolved: str
    """The configuration as YAML, without interpolations."""


def prepare(config: DictConfig) -> Preparation:
    """Make the components that a configuration describes, and try out what they will build; computes nothing.

    Args:
        config: composed by Hydra.

    Raises:
        UserError: for whatever goes wrong.
    """
    parts = Components.from_config(config)
    with naming(""):
        resolved = OmegaConf.to_yaml(config, resolve=True)
    with naming("paths.store"):
        store = Store(parts.general.paths.store, verify=parts.general.store.verify)
    if isinstance(parts.target, SupportsDryRun) and not isinstance(parts.attack, TargetFree):
        with naming("target"):
            data = parts.dataset
            images = Preprocessing(data.image_size, data.channels, data.crop).shape
            parts.target.dry_run(images, store, parts.runtime)
    return Preparation(parts, store, resolved)
