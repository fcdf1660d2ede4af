"""Reading weights that come from strangers: only tensors, and one sentence for whatever else is found."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from secmi_exp.errors import UserError


def read_pickled(path: Path) -> Any:
    """A file of `torch.save`, memory-mapped where it can be. Nothing in it is executed.

    Raises:
        UserError: for a file that isn't there, is damaged, or holds more than weights.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path.absolute()}: give a checkpoint's path.") from error
    except pickle.UnpicklingError as error:
        found = re.search(r"(GLOBAL|Unsupported|Trying to)[^\n]*?(?= was not| by default|\n|\. |$)", str(error))
        raise UserError(
            f"{path} is refused, because reading it would mean to execute what its author chose "
            f"({found[0] if found else first_line(error)}): only weights are loaded."
        ) from error
    except Exception as error:  # torch names no single exception for a broken file
        raise UserError(f"{path} can't be read as a checkpoint ({first_line(error)}): is it complete?") from error


def first_line(error: Exception) -> str:
    """What it says, in one line and without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".")
