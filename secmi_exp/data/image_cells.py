"""Images in the cells of a table, as the library datasets keeps them: an image file's bytes, its path, or both."""

import io
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from secmi_exp.data.image_formats import open_image
from secmi_exp.data.samples import Samples
from secmi_exp.errors import UserError

Cell = Mapping[str, bytes | str | None]
"""With the keys ``bytes`` and ``path``."""


class ImageCells(Samples):
    """Images in a column.

    A sample's id is its image's path where each has one of its own, else its row.

    Args:
        folder: that paths are relative to.
        paths: of the images, as the cells have them, [N].
    """

    def __init__(self, folder: Path, paths: Sequence[str | None]):
        self.folder = folder
        named = [path for path in paths if path]
        self._ids = named if len(set(named)) == len(paths) else [f"{row:06d}" for row in range(len(paths))]

    @abstractmethod
    def cell(self, row: int) -> Cell | None:
        """One cell; raises where the table can't be read there."""

    def ids(self) -> Sequence[str]:
        """Paths or row numbers."""
        return self._ids

    def open(self, row: int) -> Image.Image:
        """From the cell's bytes, or the file that it names."""
        cell = self.cell(row) or {}
        content, path = cell.get("bytes"), cell.get("path")
        if isinstance(content, bytes):
            return open_image(io.BytesIO(content))
        if isinstance(path, str):
            return open_image(self.folder / path)
        raise ValueError("its cell is empty")


def image_column(candidates: Sequence[str], columns: Sequence[str], where: Path) -> str:
    """Of the columns that hold images the one named image, or else the only one.

    Raises:
        UserError: where that is no single one.
    """
    if "image" in candidates:
        return "image"
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise UserError(f"{where} has the columns {', '.join(columns)}, and none with images: name a table that has.")
    raise UserError(f"{where} has images in {', '.join(candidates)}: name the column that counts image.")
