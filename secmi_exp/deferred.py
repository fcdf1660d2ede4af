"""Functions of heavy modules, named at the top of light ones and imported when they are first called.

Whoever composes a configuration, or reuses a stored result, loads neither Lightning nor diffusers nor scikit-learn:
they are imported by the modules that compute with them, and these modules by the first call. What a light module may
call so stands below its imports, and counts as an import where the tests look for circles.
"""

from dataclasses import dataclass
from importlib import import_module
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True)
class Deferred:
    """A function or a class, named as ``"package.module:name"``; can be pickled, as it is only the name.

    >>> mean = Deferred("statistics:mean")
    >>> mean([1, 2, 3])
    2
    """

    name: str

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Import it and call it."""
        return self.imported(*arguments, **keywords)

    @property
    def imported(self) -> Any:
        """The function or class itself."""
        return resolve_name(self.name)

    @property
    def __name__(self) -> str:
        """As messages name it: without its module."""
        return self.name.partition(":")[2]


@dataclass(frozen=True)
class DeferredModule:
    """A module, imported when something in it is asked for.

    >>> statistics = DeferredModule("statistics")
    >>> statistics.mean([1, 2, 3])
    2
    """

    module: str

    def __getattr__(self, name: str) -> Any:
        """Import it, and return what it holds under this name."""
        return getattr(import_module(self.module), name)
