"""Each configuration file is parsed once a process: Hydra parses some twenty of them for every composition."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource

from tests.support.commands import CONF

Load = Callable[[ConfigSource, str], ConfigResult]

parsed: dict[tuple[str, str], ConfigResult] = {}
"""By the folder or package, and the path in it."""


def _load_once(load: Load, source: ConfigSource, config_path: str) -> ConfigResult:
    """Load a file of conf/ or of Hydra's, or what it held when it was first loaded; others may be a test's own."""
    if not (source.path.startswith("hydra.") or Path(source.path).is_relative_to(CONF)):
        return load(source, config_path)
    key = source.path, config_path
    if key not in parsed:
        parsed[key] = load(source, config_path)
    return deepcopy(parsed[key])  # Hydra takes the defaults list out of it


def parse_once() -> None:
    """Let this process parse each file of conf/, and of Hydra's own, once."""
    Plugins.instance()  # which executes the modules of Hydra's sources anew: classes imported before are not used
    for scheme in ("file", "pkg"):
        source = SourcesRegistry.instance().resolve(scheme)

        def load_config(self: ConfigSource, config_path: str, load: Load = source.load_config) -> ConfigResult:
            return _load_once(load, self, config_path)

        source.load_config = load_config  # type: ignore[method-assign]
