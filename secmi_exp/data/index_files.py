"""Files that list rows of a dataset: the authors' splits (.npz and YAML), .npy arrays and CSV."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from secmi_exp.data.array_lists import Header, UnreadableArray, read_array, read_arrays
from secmi_exp.data.images import Rows
from secmi_exp.data.tables import read_rows
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.plain_yaml import read_yaml
from secmi_exp.formatting import shown

AUTHORS = ("mia_train_idxs", "mia_eval_idxs")
"""Members and hold-outs in the authors' .npz split files …"""
AUTHORS_YAML = ("train", "test")
"""… and in their coco_split.yaml."""

WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
"""A row number, or a whole number that is refused because the dataset has no such row."""
LARGEST = np.iinfo(np.int64).max


def read_indices(path: Path | None, members: Path | None, holdouts: Path | None, *, samples: int) -> tuple[Rows, Rows]:
    """Members and hold-outs, either both from an .npz or YAML file or each from a list of its own.

    Args:
        path: of such a file.
        members: a list …
        holdouts: … and another.
        samples: number of samples of the dataset; no list can have more rows.

    Raises:
        UserError: for files that can't be read, or anything but one of those or two lists.
    """
    if path and not (members or holdouts):
        return read_authors_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else read_npz(path, samples)
    if members and holdouts and not path:
        return read_list(members, samples), read_list(holdouts, samples)
    given = {"path": path, "members": members, "holdouts": holdouts}
    named = ", ".join(f"split.{name}={value}" for name, value in given.items() if value) or "none of them"
    raise UserError(
        "Rows are given either by split.path (an .npz or .yaml file in the authors' format), or by split.members and "
        f"split.holdouts together (.npy or CSV lists); here: {named}."
    )


def read_npz(path: Path, samples: int) -> tuple[Rows, Rows]:
    """The two sides of a split file in the authors' format.

    Raises:
        UserError: for another format, and for lists longer than the dataset.
    """
    try:
        members, holdouts = read_arrays(path, AUTHORS, partial(refuse_no_rows, path, samples))
    except UnreadableArray as error:
        raise UserError(f"The split {path} can't be read as .npz: {error}.") from error
    return row_numbers(members), row_numbers(holdouts)


def read_authors_yaml(path: Path) -> tuple[Rows, Rows]:
    """The two sides of a YAML file like the authors' coco_split.yaml.

    Raises:
        UserError: for another format.
    """
    try:
        content = read_yaml(path)
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"The split {path} can't be read as YAML: {first_line(error)}.") from error
    keys = content if isinstance(content, dict) else {}
    if not all(isinstance(keys.get(name), list) for name in AUTHORS_YAML):
        names = ", ".join(map(str, keys)) or "no keys"
        raise UserError(
            f"The split {path} holds {names} where {' and '.join(AUTHORS_YAML)} are needed, each a list of row numbers."
        )
    members, holdouts = (listed_rows(keys[name], path) for name in AUTHORS_YAML)
    return members, holdouts


def listed_rows(values: list[object], path: Path) -> Rows:
    """Row numbers out of YAML, [n].

    Raises:
        UserError: for a list that holds anything else.
    """
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not -LARGEST <= value <= LARGEST:
            raise UserError(f"The split {path} lists {shown(value)} where a row number is needed.")
    return np.array(values, dtype=np.int64)


def read_list(path: Path, samples: int) -> Rows:
    """One side: a .npy array, or a text file with a row number a line, the first of which may be a header.

    Raises:
        UserError: for another format, and for a list longer than the dataset.
    """
    if path.suffix.lower() != ".npy":
        return read_text_list(path)
    try:
        return row_numbers(read_array(path, partial(refuse_no_rows, path, samples)))
    except UnreadableArray as error:
        raise UserError(f"The list {path} can't be read as rows of the dataset: {error}.") from error


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
            raise UserError(
                f"Line {line} of {path} is {shown(','.join(values))}, where one row of the dataset is needed."
            )
        listed.append(int(values[0]))
    return np.array(listed, dtype=np.int64)


def refuse_no_rows(path: Path, samples: int, header: Header) -> None:
    """Refuse an array that is no list of row numbers, or has more of them than the dataset has samples.

    Raises:
        UserError: naming what it is.
    """
    if len(header.shape) != 1 or header.dtype.kind not in "iu":
        raise UserError(f"{path} holds an array of {header} where a list of row numbers is needed.")
    if header.shape[0] > samples:
        raise UserError(
            f"{path} lists {header.shape[0]} rows, but the dataset has {samples} samples: is it a split of another "
            "dataset?"
        )


def row_numbers(values: np.ndarray) -> Rows:
    """An array of whole numbers as rows; what is too large for a row stays too large. [n]."""
    largest = np.array(LARGEST, np.uint64)
    return (np.minimum(values, largest) if values.dtype.kind == "u" else values).astype(np.int64)
