"""Arguments of libraries' classes, tried before they are needed; an error names the one that is at fault."""

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

from secmi_exp.arguments import given_arguments
from secmi_exp.errors import UserError
from secmi_exp.setting_values import leaves
from secmi_exp.shown_text import shown
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.loading.weights import reason, root

T = TypeVar("T")

MOST_LAYERS = 100
"""Upper bound for numbers of layers and for lengths of lists; trying more would take minutes."""
GREATEST_SIZE = 2**20
"""Upper bound for numbers of channels, pixels, or whatever else a network counts."""


def attempt(library: str, place: str, settings: Settings, make: Callable[[Settings], T]) -> T:
    """Return what a library makes of settings.

    Args:
        library: its name, for the message.
        place: key of the settings.
        settings: argument of ``make``.
        make: calls the library; may raise whatever the library raises.

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
    """Return the only setting on the command line; else one whose default works, preferably of the command line's."""
    given = {argument.lstrip("+").partition("=")[0] for argument in given_arguments()}
    changed = [name for name in settings if f"{place}.{name}" in given]
    if len(changed) == 1:
        return changed[0]
    for name in changed or settings:
        if name == "_target_":
            continue
        try:
            make({other: value for other, value in settings.items() if other != name})
        except Exception:  # another one is at fault too, or this one has no default
            continue
        return name
    return None


def refuse_unlike_defaults(kind: Callable[..., object], settings: Mapping[str, object], place: str) -> None:
    """Refuse values of another type than a parameter's default, such as true for a number, and unknown parameters.

    Libraries silently take many of them: true for 1, any number for false, a negative number of pixels.

    Args:
        kind: class whose arguments the settings are.
        settings: its arguments.
        place: their key.

    Raises:
        UserError: naming the setting, its value, and what is expected.
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
                if expected := _expected(parameters[name], each):
                    raise UserError(f"{what} can't be used: {expected} is wanted.")


def _expected(parameter: inspect.Parameter, value: object) -> str | None:
    """Return what is expected in place of a value; None where the value may be of the parameter's type."""
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
    """Refuse numbers of layers, channels and pixels that no network has, before they are built.

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
