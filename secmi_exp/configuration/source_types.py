"""Settings of a wrong type, found from the source of the classes that read them, before any of these is imported.

A component's module imports what it computes with, which takes seconds: a mistake on the command line need not wait for
it. Annotations are evaluated where they consist of names of Python, pydantic and `user_path`; others are left to the
class itself.
"""

import ast
from collections.abc import Iterator
from dataclasses import make_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter

from secmi_exp.configuration.general import General
from secmi_exp.configuration.setting_errors import naming
from secmi_exp.configuration.setting_values import refuse_converted, refuse_impossible_values

LIGHT = ("typing", "collections.abc", "pathlib", "pydantic", "secmi_exp.configuration.user_path")
"""Modules whose names annotations may have."""
GROUPS = ("dataset", "split", "canaries", "defense", "target", "trainer", "attack", "quality")


def refuse_wrong_types(config: DictConfig) -> None:
    """Refuse values whose type the general settings or the classes of the components would refuse.

    Raises:
        UserError: naming the setting, its value, and what is expected.
    """
    General.from_config(config)
    for group in GROUPS:
        node = config.get(group)
        try:
            given: Any = OmegaConf.to_container(node, resolve=True)
            types = dict(annotations_of(given["_target_"]))
        except (OmegaConfBaseException, KeyError, TypeError, ValueError):  # explained when the component is made
            continue
        typed = {name: given[name] for name in types if given.get(name, MISSING) != MISSING}
        settings = make_dataclass("Settings", [(name, types[name]) for name in typed])
        with naming(group, given):
            made: Any = TypeAdapter(settings).validate_python(typed)
            refuse_impossible_values(typed, group)
            refuse_converted(typed, made, group)


def annotations_of(target: str) -> Iterator[tuple[str, Any]]:
    """Name and type of the fields of a class of this package and of its bases in it, as far as they can be evaluated.

    Args:
        target: full name of the class, such as ``secmi_exp.data.digits.Digits``.
    """
    module, _, name = target.rpartition(".")
    spec = find_spec(module) if module.startswith("secmi_exp.") else None
    if spec is None or spec.origin is None:
        return
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    imported = {each.name: node.module for node in body if isinstance(node, ast.ImportFrom) for each in node.names}
    names = {each: getattr(import_module(place), each) for each, place in imported.items() if place in LIGHT}
    for cls in body:
        if isinstance(cls, ast.ClassDef) and cls.name == name:
            for base in cls.bases:
                if isinstance(base, ast.Name):
                    yield from annotations_of(f"{imported.get(base.id, module)}.{base.id}")
            for field in cls.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    try:
                        yield field.target.id, eval(ast.unparse(field.annotation), dict(names))
                    except NameError:
                        continue
