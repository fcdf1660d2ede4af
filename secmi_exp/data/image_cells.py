"""Images in the cells of a table, as the library datasets keeps them: an image file's bytes, its path, or both."""

import hashlib
import io
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
from PIL import Image

from secmi_exp.data.file_fingerprints import files_fingerprint
from secmi_exp.data.image_formats import open_image
from secmi_exp.data.samples import Samples
from secmi_exp.errors import UserError
from secmi_exp.store import Verify

Cell = Mapping[str, bytes | str | None]
"""A cell with the keys ``bytes`` and ``path``."""


class ImageCells(Samples):
    """Images in a column.

    A sample's id is its image's path where each has one of its own, else its row.

    Args:
        folder: folder that paths are relative to.
        column: name of the column.
        paths: of the images, as the cells have them, [N].
    """

    def __init__(self, folder: Path, column: str, paths: Sequence[str | None]):
        self.folder, self.column = folder, column
        named = [path for path in paths if path]
        self._ids = named if len(set(named)) == len(paths) else [f"{row:06d}" for row in range(len(paths))]

    @abstractmethod
    def cell(self, row: int) -> Cell | None:
        """One cell; raises where the table can't be read there."""

    @abstractmethod
    def table_files(self) -> list[Path]:
        """The files that the column lies in."""

    @abstractmethod
    def linked(self) -> list[str]:
        """Paths of the images whose bytes lie in files of their own."""

    def fingerprint(self, verify: Verify) -> str:
        """A digest of the tables and of the images that lie beside them."""
        content = hashlib.sha256(f"{self.column}\n".encode())
        for files in (map(str, self.table_files()), (str(self.folder / path) for path in self.linked())):
            content.update(files_fingerprint(files, verify).encode())
        return content.hexdigest()

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


def paths_without_bytes(cells: pa.ChunkedArray) -> list[str]:
    """The paths of those cells that have no bytes.

    >>> cells = [{"bytes": b"GIF", "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    >>> paths_without_bytes(pa.chunked_array([pa.array(cells)]))
    ['b.png']
    """
    without = pa.compute.is_null(pa.compute.struct_field(cells, "bytes"))
    paths: list[str] = pa.compute.struct_field(cells, "path").filter(without).drop_null().to_pylist()
    return paths


def image_column(candidates: Sequence[str], columns: Sequence[str], where: Path) -> str:
    """Choose the column named image from those that hold images, or else the only one.

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
