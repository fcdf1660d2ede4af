"""Each configuration file and each interpolation is parsed once a process: a composition has some twenty of both."""

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import _utils, base, grammar_parser

from tests.support.commands import CONF

Load = Callable[[ConfigSource, str], ConfigResult]

parsed: dict[tuple[str, str], bytes] = {}
"""By the folder or package, and the path in it; pickled, since Hydra takes the defaults list out of what it gets."""


def _load_once(load: Load, source: ConfigSource, config_path: str) -> ConfigResult:
    """Load a file of conf/ or of Hydra's, or what it held when it was first loaded; others may be a test's own."""
    if not (source.path.startswith("hydra.") or Path(source.path).is_relative_to(CONF)):
        return load(source, config_path)
    key = source.path, config_path
    if key not in parsed:
        parsed[key] = pickle.dumps(load(source, config_path))
    result: ConfigResult = pickle.loads(parsed[key])  # noqa: S301
    return result


def parse_once() -> None:
    """Let this process parse each file of conf/ and of Hydra's own once, and each interpolation."""
    Plugins.instance()  # which executes the modules of Hydra's sources anew: classes imported before are not used
    for scheme in ("file", "pkg"):
        source = SourcesRegistry.instance().resolve(scheme)

        def load_config(self: ConfigSource, config_path: str, load: Load = source.load_config) -> ConfigResult:
            return _load_once(load, self, config_path)

        source.load_config = load_config  # type: ignore[method-assign]
    base.parse = _utils.parse = cache(grammar_parser.parse)  # type: ignore[attr-defined]
