"""Captions and classes of the images in a folder.

Captions: in Hugging Face's metadata files, or in a text file beside each image. Classes: in metadata files, or the
folders that the images lie in.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from secmi_exp.data.captions import CaptionChoice
from secmi_exp.data.folder_contents import SIDECARS, FolderContents
from secmi_exp.data.labels import LabelCells, Labels, folder_labels, read_column
from secmi_exp.data.samples import ImageFiles
from secmi_exp.data.tables import Table, read_table, read_text
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import warn


def images_in(contents: FolderContents, choice: CaptionChoice) -> ImageFiles:
    """The images of a folder and those that its metadata files list, sorted by path, with their captions and classes.

    A metadata file names images relative to the folder that it lies in. Where none has captions, they come from the
    text files beside the images, a caption a line; where none has classes, they are the sub-folders.

    Raises:
        UserError: for a metadata file or text file that can't be read, two metadata files in one folder, and an image
            that is listed twice.
    """
    contents.warn_of_unread()
    refuse_two_metadata_files(contents)
    tables = [read_table(contents.folder / name) for name in contents.metadata]
    listed = listed_rows(tables, contents.folder)
    names = sorted({*contents.images, *listed})
    rows = [listed.get(name) for name in names]
    beside = sidecars(names, contents)
    captions = None
    if beside and not any(choice.column in table.names for table in tables):
        captions = choice.choose(
            (lines_of(beside.get(name), contents.folder) for name in names), names, contents.folder
        )
    else:
        warn_of_sidecars(beside, contents.folder)
        captioned = [choice.among(table.names, ["file_name"], table.file) for table in tables]
        if any(captioned):
            captions = choice.choose(listed_cells(tables, choice.column, rows), names, contents.folder)
    labels = folder_labels(names)
    if any(choice.label_column in table.names for table in tables):
        labels = Labels(partial(read_labels, tables, choice.label_column, rows, names, contents.folder))
    return ImageFiles([f"{contents.folder}/{name}" for name in names], names, captions=captions, labels=labels)


def refuse_two_metadata_files(contents: FolderContents) -> None:
    """Refuse two in the same folder.

    Raises:
        UserError: naming them.
    """
    folders: dict[PurePosixPath, PurePosixPath] = {}
    for path in map(PurePosixPath, contents.metadata):
        first = folders.setdefault(path.parent, path)
        if first != path:
            raise UserError(
                f"{contents.folder / path.parent} has both {first.name} and {path.name}: keep the one that holds the "
                "captions."
            )


def listed_rows(tables: Sequence[Table], folder: Path) -> dict[str, tuple[int, int]]:
    """Image → which table lists it, and in which row.

    Raises:
        UserError: for an image that is listed twice.
    """
    listed: dict[str, tuple[int, int]] = {}
    for number, table in enumerate(tables):
        below = os.path.relpath(table.file.parent, folder)
        for row, name in enumerate(table.texts("file_name")):
            path = os.path.normpath(f"{below}/{name}")
            if path in listed:
                places = f"{tables[listed[path][0]].place(listed[path][1])} and in {table.place(row)}"
                raise UserError(f"{path} stands in {places}: list each image once.")
            listed[path] = number, row
    return listed


def listed_cells(tables: Sequence[Table], column: str, rows: Sequence[tuple[int, int] | None]) -> Iterator[object]:
    """A column's cells, [n]; None for images that no table with such a column lists.

    Args:
        tables: metadata files.
        column: of some of them.
        rows: table that lists an image, and its row there, [n].
    """
    columns = [table.cells(column) if column in table.names else None for table in tables]
    return (cells[row[1]] if row and (cells := columns[row[0]]) else None for row in rows)


def read_labels(
    tables: Sequence[Table], column: str, rows: Sequence[tuple[int, int] | None], names: Sequence[str], folder: Path
) -> LabelCells:
    """The classes that metadata files have for images; see `listed_cells`."""
    return read_column(listed_cells(tables, column, rows), names, folder)


def sidecars(images: Sequence[str], contents: FolderContents) -> dict[str, str]:
    """Image → the text file beside it, of those that have one.

    Raises:
        UserError: for an image that has two.
    """
    beside = {}
    for image in images:
        stem = os.path.splitext(image)[0]  # noqa: PTH122  (a Path for each of 100,000 files costs more)
        found = [contents.sidecars[stem + suffix] for suffix in SIDECARS if stem + suffix in contents.sidecars]
        if len(found) > 1:
            raise UserError(
                f"{image} in {contents.folder} has two captions beside it, {' and '.join(found)}: keep one of them."
            )
        if found:
            beside[image] = found[0]
    return beside


def lines_of(sidecar: str | None, folder: Path) -> list[str]:
    """The captions in a text file, one a line.

    Raises:
        UserError: where it can't be read.
    """
    return read_text(folder / sidecar).split("\n") if sidecar else []


def warn_of_sidecars(beside: Mapping[str, str], folder: Path) -> None:
    """Warn of text files that are not read because a metadata file has captions."""
    if beside:
        warn(
            "sidecar_captions_not_read",
            f"{len(beside)} images in {folder} have a text file beside them (the first of these is "
            f"{next(iter(beside.values()))}), and the metadata has captions too: those of the metadata are taken; move "
            "away what is not meant.",
            count=len(beside),
        )
