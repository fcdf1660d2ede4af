"""Checks of the command line's arguments before Hydra composes them: it would misread, merge or ignore some."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf

from secmi_exp.configuration.flags import read_flags
from secmi_exp.configuration.folders import ConfigFolders
from secmi_exp.errors import UserError
from secmi_exp.formatting import LONGEST_VALUE, shortened, shown

MERGEABLE = {"experiment"}
"""Groups whose choices set values all over the configuration, so that several of them may apply one after the other."""

DEEP = re.compile(r"[\[{(]{50}")
"""Brackets that no value of a setting begins with, and that reading takes minutes for where they are thousands."""


def checked_arguments(arguments: Sequence[str], conf: Path) -> list[str]:
    """The arguments, with values that begin with ``~`` quoted, since Hydra's grammar has no such values.

    Args:
        arguments: of the command line.
        conf: folder of the configuration.

    Raises:
        UserError: for an argument that can't be read, for a group that isn't set to one of its choices, and for one
            that is added twice.
    """
    given = read_flags(arguments)
    if given.shell_completion:
        return list(arguments)
    for argument in given.overrides:
        refuse_empty_or_deep(argument)
    readable = {argument: quote_homes(argument) for argument in given.overrides}
    folders = ConfigFolders.from_arguments(arguments, conf)
    overrides = [read_override(argument) for argument in readable.values()]
    for override in overrides:
        refuse_wrong_choice(override, folders)
    refuse_added_twice(overrides, folders)
    return [readable.get(argument, argument) for argument in arguments]


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
    """Parse an argument such as ``attack.t_sec=50``.

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
    literal = f"{key}={literal_text(value)}"
    try:
        read = OverridesParser.create().parse_override(literal).value()
        taken = OmegaConf.create({"value": read}).value
    except Exception:  # also of OmegaConf's own grammar, which has other errors for values that only look like one
        return None
    return shlex.quote(literal) if taken == value else None


def literal_text(text: str) -> str:
    """Text as Hydra must get it to be taken as it stands: in quotes, and without interpolations.

    >>> literal_text("a=${b}")
    '"a=\\\\${b}"'
    """
    return _in_quotes(re.sub(r"(\\*)\$\{", lambda dollar: dollar[1] * 2 + r"\${", text))


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
    """The message for a name or path that Hydra has read as another type, such as a folder called 2024."""
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    kind = kinds.get(type(value), "nothing")
    plain = [argument.lstrip("+") for argument in arguments]
    given = next((argument for argument in reversed(plain) if argument.partition("=")[0] == key), None)
    if given is None:
        return f'{key}={value!r} is read as {kind}, and text is wanted: put it in quotes, as in {key}: "…"'
    return f"{given} is read as {kind}, and text is wanted: quote it: {quoted(given)}"


def literal_dollars(arguments: Sequence[str]) -> str:
    """Advice to add to an error of an interpolation, in case ``${`` was meant as part of a name."""
    forms = [form for argument in arguments if "${" in argument and (form := quoted(argument))]
    return f"; where ${{ is part of a name, quote it: {' '.join(forms)}" if forms else ""


def refuse_wrong_choice(override: Override, folders: ConfigFolders) -> None:
    """Refuse a group that is set to anything but one of its choices, or left out though nothing works without it.

    Raises:
        UserError: with what was meant, or with the choices.
    """
    group = override.key_or_group
    if group == "hydra" or not folders.has_group(group):
        return
    if override.is_delete():
        if group in _required_groups(folders):
            raise UserError(f"{group} can't be left out: {_choose(group, folders)}.")
        return
    value = override.value()
    for each in value.list if isinstance(value, ChoiceSweep) else [value]:
        refuse_several(group, each)
        if (
            each is None
            or isinstance(each, bool | int | float)
            or (isinstance(each, dict) and not override.is_force_add())
        ):
            optional = group not in _required_groups(folders) and not group.startswith("hydra/")
            leave_out = f", or ~{group} to leave out what a preset has chosen" if optional else ""
            raise UserError(f"{override.input_line} names no {group}: {_choose(group, folders)}{leave_out}.")
    if override.is_force_add() and not isinstance(value, dict):
        raise UserError(f"{override.input_line} can't be read: a group is added by +{group}=…, or set by {group}=….")


def refuse_added_twice(overrides: Sequence[Override], folders: ConfigFolders) -> None:
    """Refuse a second `+` for one group: of a sweep, Hydra would take the last and say nothing.

    Raises:
        UserError: with the sweep that may have been meant.
    """
    added: dict[str, list[str]] = {}
    for override in overrides:
        if override.is_add() and folders.has_group(override.key_or_group):
            added.setdefault(override.get_key_element(), []).append(str(override.input_line).partition("=")[2])
    for key, choices in added.items():
        if len(choices) > 1:
            given = " and ".join(f"{key}={each}" for each in choices)
            raise UserError(
                f"{key.lstrip('+')} is chosen {len(choices)} times, by {given}: "
                f"keep one, or sweep over them by `-m {key}={','.join(dict.fromkeys(choices))}`."
            )


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


def _choose(group: str, folders: ConfigFolders) -> str:
    return f"choose one of {', '.join(folders.choices(group))}"


def _required_groups(folders: ConfigFolders) -> set[str]:
    """The groups that config.yaml itself makes a choice of."""
    entries = OmegaConf.load(folders.main / "config.yaml").defaults
    return {str(group) for entry in entries if entry != "_self_" for group, choice in entry.items() if choice}
