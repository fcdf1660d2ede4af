"""One sentence for any exception raised while components are made: the setting, its value and the reason."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from secmi_exp.configuration.arguments import given_arguments, literal_dollars, typed_otherwise
from secmi_exp.errors import UserError, first_line
from secmi_exp.formatting import shown

UNREAD = "nothing reads a setting of this name, leave it out"
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
        return f"{place}.{unread[1]}={shown(found_in(given, [unread[1]]))} can't be used: {UNREAD}."
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
    if first["type"] in NO_TEXT:
        return f"{typed_otherwise(key, first['input'], given_arguments())}."
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}={shown(first['input'])} can't be used: {UNREAD}."
    allowed = dict.fromkeys(_words(each) for each in errors if _path(each, given) == path)
    return f"{key}={shown(first['input'])} can't be used: {', or '.join(allowed)}."


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
