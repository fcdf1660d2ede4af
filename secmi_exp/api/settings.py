"""Settings as Python has them, written as the overrides that the command line takes."""

from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from os import PathLike, fspath

from secmi_exp.configuration.arguments import literal_text
from secmi_exp.configuration.folders import CONF, ConfigFolders
from secmi_exp.errors import UserError

Setting = object
"""None, a bool, a number, text, a path, or a list or a dictionary of these."""

ADDED = "attack"
"""The group that no configuration has unless it is added."""


def overrides(settings: Mapping[str, Setting]) -> Iterator[str]:
    """Write settings as overrides.

    Args:
        settings: name → value. A group's name with text chooses from the group, and with a dictionary sets values in
            it: ``{"dataset": "digits", "split": {"members": 64}, "attack.k": 5}``.

    Raises:
        UserError: for a value of a type that no setting has.

    >>> list(overrides({"dataset": "digits", "split": {"members": 64}, "attack.k": 5, "group": "a b", "tags": ["x"]}))
    ['dataset=digits', 'split.members=64', 'attack.k=5', 'group="a b"', 'tags=["x"]']
    """
    folders = ConfigFolders(CONF)
    for name, value in settings.items():
        if isinstance(value, Mapping) and "." not in name:
            yield from (f"{name}.{key}={literal(each, f'{name}.{key}')}" for key, each in value.items())
        elif folders.has_group(name) and isinstance(value, str | list | tuple):
            chosen = value if isinstance(value, str) else f"[{','.join(map(str, value))}]"
            yield f"{'+' if name == ADDED else ''}{name}={chosen}"
        else:
            yield f"{name}={literal(value, name)}"


def literal(value: Setting, name: str) -> str:
    """A value as Hydra's grammar has it.

    Raises:
        UserError: for one of another type, naming the setting.
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Integral():
            return str(int(value))
        case Real():
            return repr(float(value))
        case str() | PathLike():
            return literal_text(str(fspath(value)))
        case list() | tuple():
            return f"[{','.join(literal(each, name) for each in value)}]"
        case Mapping():
            return f"{{{','.join(f'{key}: {literal(each, name)}' for key, each in value.items())}}}"
    raise UserError(
        f"{name} is given as {type(value).__name__}, and settings are numbers, texts, true, false or None, or lists "
        "and dictionaries of these: convert it."
    )
