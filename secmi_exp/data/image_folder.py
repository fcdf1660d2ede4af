"""Images of one's own: a folder, a folder of members and one of hold-outs, or a list of files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from secmi_exp.data.dataset import Dataset
from secmi_exp.data.samples import EXTENSIONS, ImageFiles, image_paths
from secmi_exp.errors import UserError

LISTS = (".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Dataset):
    """JPEG, PNG and WebP files of any size and mode."""

    path: Path | None
    """A folder, or a CSV or Parquet file with a column ``path``, relative to it, and perhaps one ``is_member``."""
    members: Path | None
    holdout: Path | None
    """Two folders (or lists) that state the membership, in place of ``path``."""

    def samples(self) -> ImageFiles:
        """Those of ``path``, or of ``members`` and then of ``holdout``, each sorted by path or in the list's order.

        Raises:
            UserError: for anything but one path or two sides, and for sides without images.
        """
        if self.path and not (self.members or self.holdout):
            return found(self.path)
        if self.members and self.holdout and not self.path:
            members, holdouts = found(self.members), found(self.holdout)
            names = [f"members/{name}" for name in members.names] + [f"holdout/{name}" for name in holdouts.names]
            is_member = np.repeat([True, False], [len(members.paths), len(holdouts.paths)])
            return ImageFiles([*members.paths, *holdouts.paths], names, is_member)
        fields = {"path": self.path, "members": self.members, "holdout": self.holdout}
        given = ", ".join(f"dataset.{name}={value}" for name, value in fields.items() if value) or "none of them"
        raise UserError(
            "Images are given either by dataset.path (a folder or list), or by dataset.members and dataset.holdout "
            f"together; here: {given}."
        )


def found(path: Path) -> ImageFiles:
    """The images of a folder or of a list.

    Raises:
        UserError: where there are none.
    """
    files = listed(path) if path.suffix.lower() in LISTS and not path.is_dir() else below(path)
    if not files.paths:
        raise UserError(f"There are no images in {path.absolute()}: {', '.join(EXTENSIONS)} files are looked for.")
    return files


def below(folder: Path) -> ImageFiles:
    """The images of a folder and of those in it.

    Raises:
        UserError: where there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder.absolute()}: give one, or a {' or '.join(LISTS)} list.")
    paths = image_paths(folder)
    return ImageFiles(paths, [path.removeprefix(f"{folder}/") for path in paths])


def listed(file: Path) -> ImageFiles:
    """The images that a CSV or Parquet file names.

    Raises:
        UserError: for a file that can't be read, or lacks the column.
    """
    try:
        table = pa.csv.read_csv(file) if file.suffix.lower() == ".csv" else pa.parquet.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The list {file.absolute()} can't be read: {str(error).splitlines()[0]}.") from error
    if "path" not in table.column_names:
        raise UserError(f"The list {file} has the columns {', '.join(table.column_names)}, and none named path.")
    names = [str(name) for name in table["path"].to_pylist()]
    if len(set(names)) < len(names):
        raise UserError(f"The list {file} names {len(names) - len(set(names))} images more than once: name each once.")
    paths = [str(file.parent / name) for name in names]
    return ImageFiles(paths, names, stated_membership(table, file) if "is_member" in table.column_names else None)


def stated_membership(table: pa.Table, file: Path) -> NDArray[np.bool_]:
    """The column ``is_member``.

    Raises:
        UserError: for anything but true and false, or 1 and 0.
    """
    try:
        column = table["is_member"].cast(pa.bool_())
    except pa.ArrowException as error:
        raise UserError(f"The column is_member of {file} must hold true or false: {error}.") from error
    if column.null_count:
        raise UserError(f"The column is_member of {file} is empty in {column.null_count} rows: fill it in, or drop it.")
    return np.asarray(column.to_pylist(), dtype=bool)
