"""One sentence for any exception raised while components are made: the setting, its value and the reason."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from secmi_exp.configuration.arguments import given_arguments, literal_dollars, typed_otherwise
from secmi_exp.configuration.folders import CONF, ConfigFolders
from secmi_exp.errors import UserError, first_line
from secmi_exp.formatting import shown

LEFT_OUT = {"missing", "missing_argument", "missing_keyword_only_argument"}
NO_TEXT = {"string_type", "path_type"}
"""Kinds of pydantic's errors."""


@contextmanager
def naming(place: str, given: object = None) -> Iterator[None]:
    """Turn whatever is raised within into a sentence that names the settings in question.

    Args:
        place: their key, such as ``attack``; empty at the top level.
        given: their values, where they are at hand.

    Raises:
        UserError: for any exception. One that nobody has foreseen is quoted, with its class and how to see where it
            was raised, since it may be a fault of the program as well.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(_sentence(error, place, given)) from error


def _sentence(error: Exception, place: str, given: object) -> str:
    cause: BaseException = error
    if isinstance(error, InstantiationException):
        node = _node(str(error), place)
        given, place = found_in(given, node.removeprefix(place).strip(".").split(".")), node
        cause = error.__cause__ or error
    if isinstance(cause, UserError):
        return str(cause)
    if isinstance(cause, ValidationError):
        return refused(cause, place, given)
    missing = re.fullmatch(r"Missing mandatory value: (\S+)", first_line(cause))
    if missing:
        return f"{missing[1]} has no default: add {missing[1]}=… to the command line."
    unread = re.search(r"got an unexpected keyword argument '(.+)'", first_line(cause))
    if unread and isinstance(cause, TypeError):
        return unread_setting(f"{place}.{unread[1]}", found_in(given, [unread[1]]))
    subject = f"The configuration of {place}" if place else "The configuration"
    if isinstance(cause, OmegaConfBaseException):
        key = f" of {cause.full_key}" if cause.full_key and cause.full_key != place else ""
        return f"{subject} can't be used: {first_line(cause)}{key}{literal_dollars(given_arguments())}."
    if isinstance(cause, ValueError | ImportError | HydraException):
        return f"{subject} can't be used: {first_line(cause)}."
    return f"{subject} can't be used ({unforeseen(cause)})."


def unforeseen(error: BaseException) -> str:
    """The message of an unexpected exception, with its class, and how to see where it was raised."""
    line, name = first_line(error), type(error).__name__
    return f"{line if line == name else f'{name}: {line}'}; HYDRA_FULL_ERROR=1 shows where it was raised"


def refused(error: ValidationError, place: str, given: object = None) -> str:
    """The sentence for values that pydantic refuses: the first of them, with all that would be allowed in its place.

    Args:
        error: pydantic's.
        place: key of what was validated.
        given: the validated value, which tells keys from the names of a type's alternatives.
    """
    errors = error.errors(include_url=False)
    first, path = errors[0], _path(errors[0], given)
    key = ".".join([*([place] if place else []), *path])
    if first["type"] in LEFT_OUT:
        return f"{key} has been left out, and nothing stands in for it: set it again."
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return unread_setting(key, first["input"])
    preset = preset_that_sets(key, given_arguments())
    if first["type"] in NO_TEXT and not preset:
        return f"{typed_otherwise(key, first['input'], given_arguments())}."
    allowed = dict.fromkeys(_words(each) for each in errors if _path(each, given) == path)
    by, otherwise = (f" (set by {preset})", f": set it yourself, or leave {preset} out") if preset else ("", "")
    return f"{key}={shown(first['input'])}{by} can't be used: {', or '.join(allowed)}{otherwise}."


def unread_setting(key: str, value: object) -> str:
    """The sentence for a setting that nothing reads; a preset may have set it, for another target or dataset."""
    preset = preset_that_sets(key, given_arguments())
    by = f" (set by {preset})" if preset else ""
    return f"{key}={shown(value)}{by} can't be used: nothing reads a setting of this name, leave {preset or 'it'} out."


def preset_that_sets(key: str, arguments: Sequence[str]) -> str | None:
    """The argument, such as ``experiment=smoke``, whose preset sets a key; None where none or another does."""
    given = {name: value for name, _, value in (argument.lstrip("+").partition("=") for argument in arguments)}
    if key in given or "experiment" not in given:
        return None
    presets = re.findall(r"[^\s,\[\]]+", given["experiment"])
    return f"experiment={given['experiment']}" if any(_sets(preset, key) for preset in presets) else None


def _sets(preset: str, key: str) -> bool:
    """Whether a preset, or one that it is built from, sets a key or sweeps over it."""
    files = (folder / "experiment" / f"{preset}.yaml" for folder in ConfigFolders.from_job(CONF).all)
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        return False
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    *place, name = key.split(".")
    if _has(found_in(content, place), name) or _has(found_in(content, ["hydra", "sweeper", "params"]), key):
        return True
    built_from = found_in(content, ["defaults"])
    assert isinstance(built_from, list | None)
    return any(_sets(each, key) for each in built_from or [] if isinstance(each, str) and each != "_self_")


def _words(error: ErrorDetails) -> str:
    return error["msg"][:1].lower() + error["msg"][1:]


def _path(error: ErrorDetails, given: object) -> list[str]:
    """The part of an error's place that is keys: pydantic adds the names of a union's alternatives."""
    location = [str(part) for part in error["loc"]]
    if given is None:
        return location
    path: list[str] = []
    for part in location:
        if error["type"] in LEFT_OUT or _has(given, part):
            path.append(part)
            given = found_in(given, [part])
    return path or location


def _has(given: object, key: str) -> bool:
    if isinstance(given, Mapping):
        return any(str(name) == key for name in given)
    return isinstance(given, Sequence) and not isinstance(given, str) and key.isdigit() and int(key) < len(given)


def found_in(given: object, path: Sequence[str]) -> object:
    """The value at a path within dictionaries and lists; None where there is none."""
    for key in filter(None, path):
        if isinstance(given, Mapping):
            given = next((value for name, value in given.items() if str(name) == key), None)
        elif isinstance(given, Sequence) and _has(given, key):
            given = given[int(key)]
        else:
            return None
    return given


def _node(message: str, group: str) -> str:
    """The key of the node that failed, which Hydra names in its message's last line."""
    last = message.splitlines()[-1]
    return last.removeprefix("full_key: ") if last.startswith("full_key: ") else group
