"""How the store's keys name the classes that compute results.

The classes of this package are named by their qualified names: their code's version stands in the key beside it. Of a
class from anywhere else nobody keeps a version, so that its source decides.
"""

import hashlib
import sys
from pathlib import Path

from secmi_exp.errors import UserError

PACKAGE = "secmi_exp"

KNOWN: dict[type, str] = {}
"""Identities of classes from elsewhere, as their files were when they were first asked for."""


def is_own(cls: type) -> bool:
    """Whether a class is defined in this package."""
    return cls.__module__.partition(".")[0] == PACKAGE


def class_identity(cls: type) -> str:
    """What stands for a class in keys.

    Of this package's classes: the qualified name. Of others: module, qualified name, and the SHA-256 of the files that
    define the class and its bases outside of this package and of Python's standard library. What these files import
    from elsewhere is not covered. A class keeps its identity for as long as the process runs, as it keeps its code when
    the file is edited.

    Raises:
        UserError: for a class that no file defines.

    >>> class_identity(type)
    Traceback (most recent call last):
        ...
    secmi_exp.errors.UserError: No file defines the class builtins.type, so that results of its versions can't be told \
apart: put it into a module.
    """
    if is_own(cls):
        return cls.__qualname__
    if cls not in KNOWN:
        KNOWN[cls] = f"{cls.__module__}.{cls.__qualname__} {_source_digest(cls)}"
    return KNOWN[cls]


def _source_digest(cls: type) -> str:
    bases = [each for each in cls.__mro__[1:] if not is_own(each) and not _of_standard_library(each)]
    sources = {_source(each): None for each in (cls, *bases)}  # in the order of the classes, each once
    content = hashlib.sha256()
    for source in sources:
        content.update(hashlib.sha256(source.read_bytes()).digest())
    return content.hexdigest()


def outside_classes(**instances: object) -> dict[str, str]:
    """The identities of those objects whose classes are not this package's, for a key's configuration.

    >>> outside_classes(error=UserError())
    {}
    """
    return {name: class_identity(type(each)) for name, each in instances.items() if not is_own(type(each))}


def _of_standard_library(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in sys.stdlib_module_names


def _source(cls: type) -> Path:
    """The file of the module that defines a class."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file is None or not Path(file).is_file():
        raise UserError(
            f"No file defines the class {cls.__module__}.{cls.__qualname__}, so that results of its versions can't be "
            "told apart: put it into a module."
        )
    return Path(file)
