"""Files that list rows of a dataset: the authors' splits, .npz and YAML; .npy arrays; and CSV."""

import re
import zipfile
from pathlib import Path

import numpy as np
import yaml

from secmi_exp.data.images import Rows
from secmi_exp.data.tables import read_rows
from secmi_exp.errors import UserError, first_line

AUTHORS = ("mia_train_idxs", "mia_eval_idxs")
"""Members and hold-outs in the authors' .npz split files …"""
AUTHORS_YAML = ("train", "test")
"""… and in their coco_split.yaml."""

WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
"""A row number, or what is close enough to one to be told that the dataset has no such row."""


def read_indices(path: Path | None, members: Path | None, holdouts: Path | None) -> tuple[Rows, Rows]:
    """Members and hold-outs, either both from an .npz or YAML file or each from a list of its own.

    Raises:
        UserError: for files that can't be read, or anything but one of those or two lists.
    """
    if path and not (members or holdouts):
        return read_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else read_npz(path)
    if members and holdouts and not path:
        return read_list(members), read_list(holdouts)
    given = {"path": path, "members": members, "holdouts": holdouts}
    named = ", ".join(f"split.{name}={value}" for name, value in given.items() if value) or "none of them"
    raise UserError(
        "Rows are given either by split.path (an .npz or .yaml file in the authors' format), or by split.members and "
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


def read_yaml(path: Path) -> tuple[Rows, Rows]:
    """The two sides of a YAML file like the authors' coco_split.yaml.

    Raises:
        UserError: for another format.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"The split {path} can't be read as YAML: {first_line(error)}.") from error
    keys = content if isinstance(content, dict) else {}
    if not all(isinstance(keys.get(name), list) for name in AUTHORS_YAML):
        names = ", ".join(map(str, keys)) or "no keys"
        raise UserError(
            f"The split {path} holds {names} where {' and '.join(AUTHORS_YAML)} are needed, each a list of row numbers."
        )
    members, holdouts = (keys[name] for name in AUTHORS_YAML)
    return listed_rows(members, path), listed_rows(holdouts, path)


def listed_rows(values: list[object], path: Path) -> Rows:
    """Row numbers out of YAML, [n].

    Raises:
        UserError: for a list that holds anything else.
    """
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool):
            raise UserError(f"The split {path} lists {value!r} where a row number is needed.")
    return np.array(values, dtype=np.int64)


def read_list(path: Path) -> Rows:
    """One side: a .npy array, or a text file with a row number a line, the first of which may be a header.

    Raises:
        UserError: for another format.
    """
    if path.suffix.lower() != ".npy":
        return read_text_list(path)
    try:
        return rows(np.load(path, allow_pickle=False), path)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"The list {path} can't be read as rows of the dataset: {first_line(error)}.") from error


def read_text_list(path: Path) -> Rows:
    """The row numbers in a text file; its first line is a header where it starts with a letter, and else a number.

    Raises:
        UserError: naming the line that holds anything else.
    """
    cells, lines = read_rows(path, ",")
    header = bool(cells) and cells[0][0].strip()[:1].isalpha()
    listed = []
    for line, values in list(zip(lines, cells, strict=True))[header:]:
        if len(values) != 1 or not WHOLE.fullmatch(values[0].strip()):
            raise UserError(f"Line {line} of {path} is {','.join(values)!r}, where one row of the dataset is needed.")
        listed.append(int(values[0]))
    return np.array(listed, dtype=np.int64)


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
