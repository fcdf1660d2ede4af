"""Arguments of libraries' networks and optimizers, as configurations write them."""

from collections.abc import Mapping
from contextlib import suppress

from hydra.utils import get_class

from secmi_exp.errors import UserError, first_line
from secmi_exp.files.strict_json import Json
from secmi_exp.random_streams import Purpose
from secmi_exp.store import Damaged, Store, read_manifest
from secmi_exp.store.class_identity import class_identity

Settings = dict[str, bool | int | float | str | list[int] | list[str] | list[float] | None]


def optimizer_class(settings: Settings) -> dict[str, Json]:
    """Return what a key needs besides an optimizer's settings: the identity of a class that isn't torch's.

    Raises:
        UserError: for a name that leads to no class.
    """
    name = str(settings.get("_target_"))
    if name.startswith("torch."):
        return {}
    try:
        return {"optimizer_class": class_identity(get_class(name))}
    except (ImportError, ValueError) as error:  # as Hydra does for what can't be imported, and for what is no class
        raise UserError(f"optimizer._target_={name} names no class ({first_line(error)}): choose one.") from error


def drawing_within(architecture: str, network: Mapping[str, Json]) -> dict[str, Json]:
    """Return what a key needs besides the settings of a network that draws numbers in its training; {} of others.

    Targets without such draws keep the weights, and the keys, that they had before these were seeded apart.

    Args:
        architecture: class of the network, in diffusers.
        network: its arguments, or its configuration.
    """
    drops_classes = architecture == "DiTTransformer2DModel"  # a tenth of them in each training
    return {"drawing_within": int(Purpose.WITHIN_NETWORK)} if drops_classes or network.get("dropout") else {}


def trained_before(store: Store, kind: str, settings: Mapping[str, Json]) -> bool:
    """Return whether the store has an entry with these settings in its configuration, on whatever images.

    Args:
        store: of results.
        kind: of the entry, such as ``target``.
        settings: some of the configuration in its key.
    """
    for entry in (store.root / kind).glob("*/"):
        with suppress(Damaged):
            config = read_manifest(entry).key.config
            if all(name in config and config[name] == value for name, value in settings.items()):
                return True
    return False
