"""How the store's keys name the classes that compute results.

The classes of the modules listed here are named by their qualified names: their code's version stands in the key beside
it, and a test holds it against the code. Of any other class nobody keeps a version, so that its source decides; also of
one whose file somebody has put into this package.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from secmi_exp.errors import UserError

VERSIONED = frozenset(
    f"secmi_exp.{folder}.{module}"
    for folder, modules in {
        "attacks": "attack blind cdi extraction gan_leaks gsa logan loss monte_carlo_set over_representation pfami pia "
        "scores_file secmi sima tvd",
        "attacks.scorers": "column feature_classifier map_distance nn quantile scorer",
        "attacks.signals": "query_attack sample_comparison samples",
        "data": "dataset digits image_cells image_folder lfw mnist5k parquet_images samples saved_dataset "
        "tiny_imagenet torchvision_readers",
        "defenses": "cutout defense dp_sgd dp_sgd_settings hflip l2 randaugment",
        "quality": "quality",
        "targets": "given module pipeline",
        "targets.pixel": "adm_checkpoint class_labels ddpm diffusers_folder recipe secmi_checkpoint",
        "targets.text_to_image": "fine_tuning latent_ddpm recipes stable_diffusion target",
    }.items()
    for module in modules.split()
)
"""Modules whose classes have versions; a new one needs not be listed, and its results are then those of its source."""

KNOWN: dict[type, str] = {}
"""Identities of classes from elsewhere, as their files were when they were first asked for."""


def is_versioned(cls: type) -> bool:
    """Whether a version stands for a class's code."""
    return cls.__module__ in VERSIONED


def class_identity(cls: type) -> str:
    """The name of a class in keys.

    Of versioned classes: the qualified name. Of others: module, qualified name, and the SHA-256 of the files that
    define the class and those of its bases that are neither versioned nor of Python's standard library. What these
    files import from elsewhere is not covered. A class keeps its identity for as long as the process runs, as it keeps
    its code when the file is edited.

    Raises:
        UserError: for a class that no file defines.

    >>> class_identity(type)
    Traceback (most recent call last):
        ...
    secmi_exp.errors.UserError: No file defines builtins.type, so that results of its versions can't be distinguished: \
put it into a module.
    """
    if is_versioned(cls):
        return cls.__qualname__
    if cls not in KNOWN:
        KNOWN[cls] = f"{cls.__module__}.{cls.__qualname__} {_source_digest(cls)}"
    return KNOWN[cls]


def function_identity(function: Callable[..., object]) -> str:
    """What stands for a function in keys: module, qualified name, and the SHA-256 of its file.

    Raises:
        UserError: for a function that no file defines.
    """
    source = _source(function)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return f"{function.__module__}.{function.__qualname__} {digest}"


def _source_digest(cls: type) -> str:
    bases = [each for each in cls.__mro__[1:] if not is_versioned(each) and not _of_standard_library(each)]
    sources = {_source(each): None for each in (cls, *bases)}  # in the order of the classes, each once
    content = hashlib.sha256()
    for source in sources:
        content.update(hashlib.sha256(source.read_bytes()).digest())
    return content.hexdigest()


def outside_classes(**instances: object) -> dict[str, str]:
    """The identities of those objects whose classes are not versioned, for a key's configuration.

    >>> from secmi_exp.attacks.scorers.column import Column
    >>> outside_classes(scorer=Column("t_error", "less"))
    {}
    """
    return {name: class_identity(type(each)) for name, each in instances.items() if not is_versioned(type(each))}


def _of_standard_library(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in sys.stdlib_module_names


def _source(defined: type | Callable[..., object]) -> Path:
    """Return the file of the module that defines a class or function."""
    file = getattr(sys.modules.get(defined.__module__), "__file__", None)
    if file is None or not Path(file).is_file():
        raise UserError(
            f"No file defines {defined.__module__}.{defined.__qualname__}, so that results of its versions can't be "
            "distinguished: put it into a module."
        )
    return Path(file)
