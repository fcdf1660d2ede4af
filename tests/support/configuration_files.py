"""Each configuration file is parsed once a process: Hydra parses some twenty of them for every composition."""

from copy import deepcopy
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult

from tests.support.commands import CONF

_load = FileConfigSource.load_config
_parsed: dict[Path, ConfigResult] = {}


def _load_once(self: FileConfigSource, config_path: str) -> ConfigResult:
    """Load a file of conf/, or what it held when it was first loaded; files elsewhere may be a test's own."""
    if not Path(self.path).is_relative_to(CONF):
        return _load(self, config_path)
    path = Path(self.path, config_path)
    if path not in _parsed:
        _parsed[path] = _load(self, config_path)
    return deepcopy(_parsed[path])  # Hydra takes the defaults list out of it


def parse_once() -> None:
    """Let this process parse each file of conf/ once."""
    FileConfigSource.load_config = _load_once  # type: ignore[method-assign]
