"""Files that list rows of a dataset: the authors' .npz splits, .npy arrays, and CSV."""

import zipfile
from pathlib import Path

import numpy as np

from secmi_exp.data.images import Rows
from secmi_exp.errors import UserError

AUTHORS = ("mia_train_idxs", "mia_eval_idxs")
"""Members and hold-outs in the authors' split files."""


def read_indices(path: Path | None, members: Path | None, holdouts: Path | None) -> tuple[Rows, Rows]:
    """Members and hold-outs, either both from an .npz file or each from a list of its own.

    Raises:
        UserError: for files that can't be read, or anything but one .npz or two lists.
    """
    if path and not (members or holdouts):
        return read_npz(path)
    if members and holdouts and not path:
        return read_list(members), read_list(holdouts)
    given = {"path": path, "members": members, "holdouts": holdouts}
    named = ", ".join(f"split.{name}={value}" for name, value in given.items() if value) or "none of them"
    raise UserError(
        "Rows are given either by split.path (an .npz file in the authors' format), or by split.members and "
        f"split.holdouts together (.npy or CSV lists); here: {named}."
    )


def read_npz(path: Path) -> tuple[Rows, Rows]:
    """The two sides of a split file in the authors' format.

    Raises:
        UserError: for another format.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            missing = [name for name in AUTHORS if name not in content]
            if missing:
                names = ", ".join(content) or "nothing"
                raise UserError(f"The split {path} holds {names} where {' and '.join(AUTHORS)} are needed.")
            members, holdouts = (content[name] for name in AUTHORS)
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise UserError(f"The split {path} can't be read as .npz: {first_line(error)}.") from error
    return rows(members, path), rows(holdouts, path)


def read_list(path: Path) -> Rows:
    """One side: a .npy array, or a CSV file with one column, with or without a header.

    Raises:
        UserError: for another format.
    """
    try:
        if path.suffix.lower() == ".npy":
            return rows(np.load(path, allow_pickle=False), path)
        lines = path.read_text(encoding="utf-8").split()
        return rows(np.array(lines if lines and lines[0].lstrip("-").isdigit() else lines[1:], dtype=np.int64), path)
    except (OSError, ValueError) as error:
        raise UserError(f"The list {path} can't be read as rows of the dataset: {first_line(error)}.") from error


def rows(values: np.ndarray, path: Path) -> Rows:
    """Row numbers, [n].

    Raises:
        UserError: for anything but a list of whole numbers.
    """
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise UserError(
            f"{path} holds an array of {values.dtype} with shape {values.shape} where a list of row numbers is needed."
        )
    return values.astype(np.int64)


def first_line(error: Exception) -> str:
    """What it says, without a full stop."""
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
