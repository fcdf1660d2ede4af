"""Whether networks of certain settings were trained before, so that they need not be tried again."""

from collections.abc import Mapping
from contextlib import suppress

from secmi_exp.store import Damaged, Json, Store, read_manifest


def trained_before(store: Store, kind: str, settings: Mapping[str, Json]) -> bool:
    """Whether the store has an entry whose configuration has these values, on whatever images.

    Args:
        store: of results.
        kind: of the entry, such as ``target``.
        settings: some of its key's configuration.
    """
    for entry in (store.root / kind).glob("*/"):
        with suppress(Damaged):
            config = read_manifest(entry).key.config
            if all(name in config and config[name] == value for name, value in settings.items()):
                return True
    return False
