"""Image files that a list names: a table with a column ``path``, or the authors' captions.npy."""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from secmi_exp.data.array_lists import Header, UnreadableArray, read_array
from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.labels import LabelCells, Labels, read_column
from secmi_exp.data.samples import ImageFiles
from secmi_exp.data.tables import Table, read_table
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.regular import MOST_BYTES


def read_image_list(file: Path, choice: CaptionChoice) -> ImageFiles:
    """The images in the column ``path`` of a table, in its order.

    Raises:
        UserError: for a file that can't be read, or lacks the column.
    """
    table = read_table(file)
    names = table.texts("path")
    refuse_repeated([os.path.normpath(name) for name in names], file)
    folder = str(file.parent)
    paths = [os.path.join(folder, name) for name in names]  # noqa: PTH118  (a million Paths take seconds)
    is_member = table.truths("is_member") if "is_member" in table.names else None
    captions = choice.choose(table.cells(choice.column), names, file) if choice.column in table.names else None
    has_labels = choice.label_column in table.names
    labels = Labels(partial(read_labels, table, choice.label_column, names)) if has_labels else None
    return ImageFiles(paths, names, is_member, captions, labels)


def read_labels(table: Table, column: str, names: Sequence[str]) -> LabelCells:
    """The classes in a column of a list of images."""
    return read_column(table.cells(column), names, table.file)


def refuse_repeated(names: Sequence[str], file: Path) -> None:
    """A sample's name is its id.

    Raises:
        UserError: where two are the same.
    """
    repeated = len(names) - len(set(names))
    if repeated:
        first = Counter(names).most_common(1)[0][0]
        raise UserError(f"The list {file} names {repeated} images more than once, {first} among them: name each once.")


def read_laion(folder: Path, choice: CaptionChoice) -> ImageFiles:
    """The authors' LAION subset, in the order of its list: captions.npy has rows (NAME, caption) of images/NAME.jpg.

    Raises:
        UserError: for a list of another form.
    """
    file = folder / "captions.npy"

    def refuse_others(header: Header) -> None:
        if header.dtype.kind != "U" or len(header.shape) != 2 or header.shape[1] != 2:
            raise UserError(f"{file} holds {header} where text with two columns, name and caption, is needed.")
        if header.shape[0] * header.dtype.itemsize > MOST_BYTES:
            raise UserError(f"{file} holds {header}, which is more than any list of captions: shorten it.")

    try:
        rows = read_array(file, refuse_others)
    except UnreadableArray as error:
        raise UserError(f"{file} can't be read as an array of text: {first_line(error)}.") from error
    names = [f"images/{name}.jpg" for name in rows[:, 0].tolist()]
    refuse_repeated(names, file)
    captions = choice.choose(rows[:, 1].tolist(), names, file)
    return ImageFiles([f"{folder}/{name}" for name in names], names, captions=captions)
