"""Networks and optimizers tried before any stage runs: networks on torch's meta device, optimizers on a single weight.

So a setting with which they can't be made, or would fail at the first step, is reported at once, by its name.
"""

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from hydra.utils import get_class
from torch import Tensor, nn

from secmi_exp.configuration.arguments import given_arguments
from secmi_exp.configuration.setting_values import leaves
from secmi_exp.errors import UserError
from secmi_exp.formatting import shown
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.loading.settings_files import reason, root

T = TypeVar("T")

MOST_LAYERS = 100
"""Upper bound for numbers of layers and for lengths of lists; trying more would take minutes."""
GREATEST_SIZE = 2**20
"""Upper bound for numbers of channels, pixels, or whatever else a network counts."""

Shape = tuple[int, int, int]
"""(C, H, W) of the images."""

BATCH = 2
BYTES = 4
"""Size of a weight in float32."""


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


def try_network(
    library: str,
    place: str,
    settings: Settings,
    kind: Callable[..., object],
    make: Callable[[Settings], Any],
    predict: Callable[[Any], object],
) -> Any:
    """Build a network on the meta device, and evaluate it once as in training.

    Args:
        library: name of the library that it comes from.
        place: key of the settings.
        settings: arguments of the network.
        kind: class whose arguments they are.
        make: builds the network.
        predict: evaluates it.

    Returns:
        The network, without weights.

    Raises:
        UserError: naming the setting at fault; also for a network whose weights don't fit this machine's memory.
    """
    refuse_huge_networks(settings, place)
    refuse_unlike_defaults(kind, settings, place)

    def build(settings: Settings) -> Any:
        with torch.device("meta"):
            network = make(settings)
            predict(network.train())
        return network

    network = attempt(library, place, settings, build)
    refuse_beyond_memory(network, place)
    return network


def refuse_beyond_memory(network: nn.Module, place: str) -> None:
    """Refuse a network whose weights alone take more than this machine's memory.

    Raises:
        UserError: with both sizes.
    """
    needed = BYTES * sum(weights.numel() for weights in network.parameters())
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else needed
    if needed > there:
        raise UserError(
            f"{place} describes a network with {needed / 2**30:,.0f} GiB of weights, and this machine has "
            f"{there / 2**30:,.0f} GiB of memory: make it smaller."
        )


def try_optimizer(settings: Settings, place: str) -> None:
    """Take one step with a single weight.

    Raises:
        UserError: naming the setting that the optimizer refuses, or with which the weight doesn't stay finite.
    """
    kind = attempt("torch", place, settings, lambda settings: get_class(str(settings.get("_target_"))))
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise UserError(
            f"{place}._target_={settings.get('_target_')} is no optimizer: choose one, such as torch.optim.Adam."
        )
    refuse_unlike_defaults(kind, settings, place)

    def step(settings: Settings) -> None:
        arguments: dict[str, Any] = {name: value for name, value in settings.items() if name != "_target_"}
        weights = nn.Parameter(torch.ones(1))
        optimizer: torch.optim.Optimizer = kind([weights], **arguments)

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = weights.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        if not arguments.get("capturable"):  # which only CUDA can
            with torch.enable_grad():
                optimizer.step(loss)  # type: ignore[arg-type]
        if not bool(weights.isfinite()):
            raise ValueError("a weight isn't finite after a single step")

    attempt("torch", place, settings, step)
