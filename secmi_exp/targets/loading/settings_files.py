"""Reads untrusted files of settings, and says why a file can't be read; needs no torch."""

import pickle
from pathlib import Path
from typing import Any

from secmi_exp.errors import UserError
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.files.strict_json import read_foreign_json


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of JSON.

    Raises:
        UserError: for a file that can't be read, is a Git-LFS pointer, or holds something else.
    """
    refuse_pointer(path)
    try:
        content = read_foreign_json(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__} where settings are expected: is it the right file?")
    return content


def unreadable(path: Path, error: BaseException) -> UserError:
    """Return the error for a file whose reading raised an exception."""
    cause = root(error)
    if isinstance(cause, pickle.UnpicklingError):
        found = cause.__context__ or cause  # torch replaces what it has found by advice
        return UserError(
            f"{path} is refused, because it is no pickle of weights alone ({reason(found)}) and any other could "
            "execute code: save it as a plain state dict or as safetensors."
        )
    return UserError(f"{path} can't be read ({reason(cause)}): is it complete, and of the format that target names?")


def root(error: BaseException) -> BaseException:
    """Return the first exception, below those that libraries raised from it."""
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = inner
    return error


def reason(error: BaseException) -> str:
    """Return the first line of an exception's message, or its class where it has no words."""
    first, *_ = [*str(error).strip().splitlines(), ""]
    return first.rstrip(".") if " " in first else f"{type(error).__name__} {first}".rstrip()
