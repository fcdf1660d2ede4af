"""Check the command line's arguments before Hydra composes them, and say what it would misread, merge or leave out."""

import re
import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf

from secmi_exp.errors import UserError
from secmi_exp.formatting import LONGEST_VALUE, shortened, shown

MERGEABLE = {"experiment"}
"""Groups whose choices set values all over the configuration, so that several of them may apply one after the other."""

ONE_OF = ("run", "multirun", "cfg", "info", "shell_completion")
"""Flags of which Hydra obeys one."""
COMPLETION = ("install", "uninstall", "query")
"""What --shell-completion can do."""
DEEP = re.compile(r"[\[{(]{50}")
"""Brackets that no value of a setting begins with, and that reading takes minutes for where they are thousands."""


def checked_arguments(arguments: Sequence[str], conf: Path) -> list[str]:
    """The arguments, with values that begin with ``~`` quoted, since Hydra's grammar has no such values.

    Args:
        arguments: of the command line.
        conf: folder of the configuration.

    Raises:
        UserError: for an argument that can't be read, and for a group that isn't set to one of its choices.
    """
    given = read_flags(arguments)
    if given.shell_completion:
        return list(arguments)
    for argument in given.overrides:
        refuse_empty_or_deep(argument)
    readable = {argument: quote_homes(argument) for argument in given.overrides}
    for argument in readable.values():
        refuse_wrong_choice(read_override(argument), conf)
    return [readable.get(argument, argument) for argument in arguments]


def read_flags(arguments: Sequence[str]) -> Namespace:
    """The command line's flags, and its other arguments as ``overrides``.

    Raises:
        UserError: for flags that there are not, or not together, and for arguments that are no text.
    """
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise UserError(f"The argument {shown(argument)} is no UTF-8, which configurations are written in.")
    parser = get_args_parser()
    parser.error = _refuse_flags  # type: ignore[method-assign]
    given = parser.parse_args(arguments)
    if given.experimental_rerun:
        raise UserError("--experimental-rerun is not offered: repeat the command that the run's overrides.yaml lists.")
    asked = [f"--{name.replace('_', '-')}" for name in ONE_OF if getattr(given, name)]
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)} can't be asked for at once: choose one of them.")
    if given.resolve and not (given.cfg or given.help):
        raise UserError("--resolve says how --cfg shows the configuration: write --cfg job --resolve.")
    if given.shell_completion and not any(each.partition("=")[0] in COMPLETION for each in given.overrides):
        raise UserError(f"--shell-completion wants one of {', '.join(f'{each}=bash' for each in COMPLETION)}.")
    return given


def _refuse_flags(message: str) -> NoReturn:
    raise UserError(f"The command line can't be read ({message}): --help shows what there is.")


def refuse_empty_or_deep(argument: str) -> None:
    """Refuse an argument without a key, and one with more brackets than can be read.

    Raises:
        UserError: with the argument.
    """
    if not argument.lstrip("+~").partition("=")[0].partition("@")[0].strip():
        raise UserError(f"{shown(argument)} is no setting: give each as KEY=VALUE, such as seed=1.")
    if DEEP.search(argument):
        raise UserError(f"{shown(argument)} is nested too deeply: no setting is.")


def read_override(argument: str) -> Override:
    """What an argument such as ``attack.t_sec=50`` sets.

    Raises:
        UserError: with the quoted form of this very argument.
    """
    try:
        return OverridesParser.create().parse_override(argument)
    except (HydraException, RecursionError) as error:
        if "=" not in argument:
            raise UserError(f"{shown(argument)} is no setting: give each as KEY=VALUE, such as seed=1.") from error
        evaluated = re.search(r"while evaluating '.*': (.+)", str(error))  # a function of Hydra's, such as range
        reason = evaluated[1] if evaluated else "Hydra reads some characters its own way"
        raise UserError(
            f"{shortened(argument, LONGEST_VALUE)} can't be read ({reason}){_or_quoted(argument)}"
        ) from error


def _or_quoted(argument: str) -> str:
    form = quoted(argument)
    return f": if it is one value, quote it: {form}" if form else ": a key is made of letters, digits and dots."


def quoted(argument: str) -> str | None:
    """The argument as a shell and Hydra must get it for its value to be taken as it stands.

    >>> quoted("target.path=runs/lr=0.1/it's.pt")
    '\\'target.path="runs/lr=0.1/it\\'"\\'"\\'s.pt"\\''

    Returns:
        None where it is the key that can't be read.
    """
    key, _, value = argument.partition("=")
    text = re.sub(r"(\\*)\$\{", lambda dollar: dollar[1] * 2 + r"\${", value)  # no interpolation
    literal = f"{key}={_in_quotes(text)}"
    try:
        read = OverridesParser.create().parse_override(literal).value()
        taken = OmegaConf.create({"value": read}).value
    except Exception:  # also of OmegaConf's own grammar, which has other errors for values that only look like one
        return None
    return shlex.quote(literal) if taken == value else None


def quote_homes(argument: str) -> str:
    """An argument with each value that begins with ``~`` quoted, where Hydra can't read it otherwise.

    >>> quote_homes("dataset.members=~/a,~b/c(1)")
    'dataset.members="~/a","~b/c(1)"'
    """
    try:
        OverridesParser.create().parse_override(argument)
        return argument
    except HydraException:
        key, equals, value = argument.partition("=")
        values = (_in_quotes(each) if each.startswith("~") else each for each in value.split(","))
        return key + equals + ",".join(values)


def _in_quotes(value: str) -> str:
    return QuotedString(value, Quote.double).with_quotes()


def given_arguments() -> Sequence[str]:
    """The arguments that set something in this job; none where Hydra has not started it."""
    if not HydraConfig.initialized():
        return []
    given = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(given, list)
    return [str(argument) for argument in given]


def typed_otherwise(key: str, value: object, arguments: Sequence[str]) -> str:
    """What to say where a name or path is wanted and Hydra has read another type, as of a folder called 2024."""
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    kind = kinds.get(type(value), "nothing")
    plain = [argument.lstrip("+") for argument in arguments]
    given = next((argument for argument in reversed(plain) if argument.partition("=")[0] == key), None)
    if given is None:
        return f'{key}={value!r} is read as {kind}, and text is wanted: put it in quotes, as in {key}: "…"'
    return f"{given} is read as {kind}, and text is wanted: quote it: {quoted(given)}"


def literal_dollars(arguments: Sequence[str]) -> str:
    """What to add to an error of an interpolation, where ``${`` may have been meant as part of a name."""
    forms = [form for argument in arguments if "${" in argument and (form := quoted(argument))]
    return f"; where ${{ is part of a name, quote it: {' '.join(forms)}" if forms else ""


def refuse_wrong_choice(override: Override, conf: Path) -> None:
    """Refuse a group that is set to anything but one of its choices, or left out though nothing works without it.

    Raises:
        UserError: with what was meant, or with the choices.
    """
    group = override.key_or_group
    if group == "hydra" or not group or not (conf / group).is_dir():
        return
    if override.is_delete():
        if group in _required_groups(conf):
            raise UserError(f"{group} can't be left out: {_choose(group, conf)}.")
        return
    value = override.value()
    for each in value.list if isinstance(value, ChoiceSweep) else [value]:
        refuse_several(group, each)
        if (
            each is None
            or isinstance(each, bool | int | float)
            or (isinstance(each, dict) and not override.is_force_add())
        ):
            optional = group not in _required_groups(conf) and not group.startswith("hydra/")
            leave_out = f", or ~{group} to leave out what a preset has chosen" if optional else ""
            raise UserError(f"{override.input_line} names no {group}: {_choose(group, conf)}{leave_out}.")
    if override.is_force_add() and not isinstance(value, dict):
        raise UserError(f"{override.input_line} can't be read: a group is added by +{group}=…, or set by {group}=….")


def refuse_several(group: str, choice: object) -> None:
    """Refuse a list as the choice of a group that names one component: Hydra would merge them into one.

    Raises:
        UserError: with the sweep that was meant.
    """
    if not isinstance(choice, list) or group in MERGEABLE:
        return
    names = [str(name) for name in choice]
    add = "+" if group == "attack" else ""
    if len(names) == 1:
        raise UserError(f"{group}=[{names[0]}] is a list: write {add}{group}={names[0]}.")
    if not names:
        raise UserError(f"{group}=[] names no {group}: choose one, as in {add}{group}=NAME, or leave it out.")
    raise UserError(
        f"{group}=[{','.join(names)}] merges {len(names)} choices of {group} into one: sweep over them instead, by "
        f"`-m {add}{group}={','.join(names)}`."
    )


def choices(group: Path) -> list[str]:
    """What a group can be set to."""
    return sorted(file.stem for file in group.glob("*.yaml"))


def _choose(group: str, conf: Path) -> str:
    return f"choose one of {', '.join(choices(conf / group))}"


def _required_groups(conf: Path) -> set[str]:
    """The groups that config.yaml itself makes a choice of."""
    entries = OmegaConf.load(conf / "config.yaml").defaults
    return {str(group) for entry in entries if entry != "_self_" for group, choice in entry.items() if choice}
