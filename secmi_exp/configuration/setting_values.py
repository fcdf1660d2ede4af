"""Values that no setting may have, and values that were silently converted to another type."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from secmi_exp.errors import UserError
from secmi_exp.formatting import shown

GREATEST = 10**9
"""Largest integer that a setting may have."""
GREATEST_REAL = 1e30
"""Largest real number that a setting may have, since its square would overflow float32."""
GREATEST_SEED = 2**63 - 1
"""Largest seed that all generators accept; of settings whose names end in seed."""
LONGEST_TEXT = 10_000
"""Most characters of a text in a setting: twice as many as the longest path has."""
MAY_BE_INFINITE = {"p"}
"""Settings that may be infinite: the order of a norm, which is then the maximum norm."""

Leaf = tuple[str, object]


def leaves(value: object, key: str = "") -> Iterator[Leaf]:
    """The values within dictionaries and lists, each with its key."""
    if not isinstance(value, Mapping | list | tuple):
        yield key, value
        return
    for name, each in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from leaves(each, f"{key}.{name}".lstrip("."))


def refuse_impossible_values(values: object, place: str = "") -> None:
    """Refuse NaN, infinity, numbers beyond all counting, and text that is no text.

    Args:
        values: resolved values of settings.
        place: key of the values in the configuration.

    Raises:
        UserError: naming the first setting with such a value.
    """
    for key, value in leaves(values, place):
        if why := _impossible(key.rpartition(".")[2], value):
            raise UserError(f"{key}={shown(value)} can't be used: {why}.")


def _impossible(name: str, value: object) -> str | None:
    """The reason why no setting may have a value; None if it may."""
    greatest = GREATEST_SEED if name.endswith("seed") else GREATEST
    match value:
        case float() if math.isfinite(value) and abs(value) > GREATEST_REAL:
            return f"numbers here go up to {GREATEST_REAL:g}"
        case float() if math.isnan(value) or (math.isinf(value) and name not in MAY_BE_INFINITE):
            return "a finite number is wanted"
        case int() if abs(value) > greatest:
            return f"numbers here go up to {greatest}"
        case str() if len(value) > LONGEST_TEXT:
            return f"it has {len(value)} characters, of {LONGEST_TEXT} that there may be"
        case str() if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            return "it has characters that are no text"
    return None


def refuse_converted(given: Mapping[str, object], made: object, place: str) -> None:
    """Refuse values that have been taken for another kind: true for the number 1, nothing for the working directory.

    Args:
        given: the settings of a component.
        made: the component, with attributes of the same names; others aren't compared.
        place: key of the setting.

    Raises:
        UserError: naming the first such setting.
    """
    for key, value in leaves(given):
        read = _attribute(made, key)
        name = f"{place}.{key}".lstrip(".")
        if isinstance(value, bool) and isinstance(read, int | float) and not isinstance(read, bool):
            raise UserError(f"{name}={str(value).lower()} can't be used: a number is wanted.")
        if value == "" and isinstance(read, Path):
            raise UserError(f"{name} is empty, and a path is wanted: set it to one, or leave it out.")


def _attribute(made: object, key: str) -> object:
    """Return what an object, or what is in its attributes, dictionaries and lists, has at a key; None for nothing."""
    for name in key.split("."):
        match made:
            case list() | tuple():
                made = made[int(name)] if name.isdigit() and int(name) < len(made) else None
            case Mapping():
                made = next((value for each, value in made.items() if str(each) == name), None)
            case _:
                made = getattr(made, "__dict__", {}).get(name)
    return made
