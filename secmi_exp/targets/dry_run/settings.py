"""Arguments of libraries' classes, tried before they are needed, and which of them is at fault where that fails."""

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

from secmi_exp.configuration.arguments import given_arguments
from secmi_exp.configuration.setting_values import leaves
from secmi_exp.errors import UserError
from secmi_exp.formatting import shown
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.loading.weights import reason, root

T = TypeVar("T")

MOST_LAYERS = 100
"""In a block, or in a row; trying more would take minutes, and nobody has so many."""
GREATEST_SIZE = 2**20
"""Channels, pixels, or whatever else a network counts."""


def attempt(library: str, place: str, settings: Settings, make: Callable[[Settings], T]) -> T:
    """What a library makes of settings.

    Args:
        library: its name, for the message.
        place: key of the settings.
        settings: what ``make`` is called with.
        make: may raise whatever the library raises.

    Raises:
        UserError: naming the one setting without which it would work, where there is one.
    """
    try:
        return make(settings)
    except UserError:
        raise
    except Exception as error:  # whatever the library's layers raise for arguments that they can't take
        name = _at_fault(place, settings, make)
        what = f"{place}.{name}={shown(settings[name])}" if name else place
        raise UserError(f"{library} refuses {what}: {reason(root(error)).rstrip(':')}.") from error


def _at_fault(place: str, settings: Settings, make: Callable[[Settings], object]) -> str | None:
    """The only one on the command line; else one whose default would do, of the command line's where it has any."""
    given = {argument.lstrip("+").partition("=")[0] for argument in given_arguments()}
    changed = [name for name in settings if f"{place}.{name}" in given]
    if len(changed) == 1:
        return changed[0]
    for name in changed or settings:
        if name == "_target_":
            continue
        try:
            make({other: value for other, value in settings.items() if other != name})
        except Exception:  # it isn't the only one, or it has no default
            continue
        return name
    return None


def refuse_unlike_defaults(kind: Callable[..., object], settings: Mapping[str, object], place: str) -> None:
    """Refuse values of another kind than a parameter's default, such as true for a number, and unknown parameters.

    Libraries take many of them in silence: true for 1, any number for false, a negative number of pixels.

    Args:
        kind: class whose arguments the settings are.
        settings: its arguments.
        place: their key.

    Raises:
        UserError: naming the setting, its value, and what is wanted.
    """
    parameters = inspect.signature(kind).parameters
    others = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    for name, value in settings.items():
        if name == "_target_":
            continue
        what = f"{place}.{name}={shown(value)}"
        if name not in parameters and not others:
            raise UserError(f"{what} can't be used: {getattr(kind, '__name__', kind)} has no setting of this name.")
        if name in parameters:
            values = value if isinstance(value, list) and value else [value]
            for each in values:
                if wanted := _wanted(parameters[name], each):
                    raise UserError(f"{what} can't be used: {wanted} is wanted.")


def _wanted(parameter: inspect.Parameter, value: object) -> str | None:
    """What is wanted in place of a value; None where it may be of the parameter's kind."""
    default, kind = parameter.default, str(parameter.annotation)
    if value is None:
        return None
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int | float):
        if not isinstance(value, int | float) or isinstance(value, bool):
            return "a number"
        if value < 0 <= default:
            return "a number from 0 on"
    if isinstance(value, str) and "int" in kind and "str" not in kind:
        return "a number"
    if isinstance(value, float) and "int" in kind and "float" not in kind and not value.is_integer():
        return "a whole number"
    return None


def refuse_huge_networks(settings: Mapping[str, object], place: str) -> None:
    """Refuse numbers of layers, channels and pixels that nobody has, before they are built.

    Raises:
        UserError: naming the setting and the bound.
    """
    for key, value in leaves(settings):
        name = key.partition(".")[0]
        most = MOST_LAYERS if "layers" in name else GREATEST_SIZE
        if isinstance(value, int | float) and abs(value) > most:
            raise UserError(f"{place}.{key}={shown(value)} can't be used: at most {most} are possible.")
    for name, value in settings.items():
        if isinstance(value, list) and len(value) > MOST_LAYERS:
            raise UserError(f"{place}.{name} has {len(value)} parts: at most {MOST_LAYERS} are possible.")
