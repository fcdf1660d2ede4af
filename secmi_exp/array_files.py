"""Arrays in .npy files whose rows are written in place, and whether a file that was left behind is still such a one."""

import io
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


def holds_array(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether a file has the header and the size of an array; what its rows are is another question."""
    header = io.BytesIO()
    described = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(header, described)
    length = len(header.getvalue())
    try:
        with file.open("rb") as content:
            size = os.fstat(content.fileno()).st_size
            return size == length + int(np.prod(shape)) * dtype.itemsize and content.read(length) == header.getvalue()
    except OSError:
        return False


class RowFile:
    """An .npy array whose rows are written in place, by several processes at once; nothing of it stays in memory."""

    def __init__(self, path: Path):
        array = np.load(path, mmap_mode="r")
        self.offset, self.dtype, self.row_bytes = array.offset, array.dtype, array.nbytes // len(array)
        self.file = os.open(path, os.O_WRONLY)

    def write(self, start: int, rows: NDArray[Any]) -> int:
        """Put rows at ``start`` and after; returns their checksum, as `checksum` has it of the file."""
        rows = np.ascontiguousarray(rows, self.dtype)
        content, position = memoryview(rows.data).cast("B"), self.offset + start * self.row_bytes
        while content:
            written = os.pwrite(self.file, content, position)
            content, position = content[written:], position + written
        return checksum(rows)

    def flush(self) -> None:
        """Write the rows to disk."""
        os.fdatasync(self.file)

    def close(self) -> None:
        """Close the file."""
        os.close(self.file)


def checksum(rows: NDArray[Any], before: int = 0) -> int:
    """CRC-32 of some rows' bytes.

    Args:
        rows: of an array.
        before: checksum of the rows before them, where it shall be of both.
    """
    return zlib.crc32(np.ascontiguousarray(rows).data, before)
