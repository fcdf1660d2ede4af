"""Arrays in .npy files whose rows are written in place, and checks of files that a stopped run has left."""

import errno
import io
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from secmi_exp.files.storage_errors import NO_ROOM, LackingRoom

WITHOUT_RESERVING = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
"""Errors of file systems that can't reserve room."""
ZEROS = 2**20
"""Bytes that are written at a time where room can't be reserved."""


def header_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The header of an array's .npy file."""
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return header.getvalue()


def holds_array(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether a file has the header and the size of an array; its rows aren't checked."""
    header = header_of(shape, dtype)
    try:
        with file.open("rb") as content:
            size = os.fstat(content.fileno()).st_size
            return size == len(header) + math.prod(shape) * dtype.itemsize and content.read(len(header)) == header
    except OSError:
        return False


def create_array(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write an .npy file of zeros, with its room on the disk reserved.

    Writing into a memory map of a file without room would end the process by a signal, and no sentence.

    Raises:
        LackingRoom: where the disk, a quota or a limit has no room for it; there is no file then.
    """
    header = header_of(shape, dtype)
    size = len(header) + math.prod(shape) * dtype.itemsize
    try:
        with file.open("wb") as content:
            content.write(header)
            content.flush()
            reserve(content.fileno(), len(header), size)
    except OSError as error:
        file.unlink(missing_ok=True)
        if error.errno in NO_ROOM:
            raise LackingRoom(error, file, size) from error
        raise


def reserve(file: int, start: int, stop: int) -> None:
    """Make room for the bytes of an open file from its present end ``start`` to ``stop``; all of them are zeros.

    Raises:
        OSError: where there isn't that much.
    """
    if start == stop:
        return
    try:
        os.posix_fallocate(file, start, stop - start)
    except (AttributeError, OSError) as error:  # no such function, or not on this file system
        if isinstance(error, OSError) and error.errno not in WITHOUT_RESERVING:
            raise
        zeros = bytes(ZEROS)
        while start < stop:
            start += os.pwrite(file, zeros[: stop - start], start)


class RowFile:
    """An .npy array whose rows are written in place, by several processes at once; nothing of it stays in memory."""

    def __init__(self, path: Path):
        array = np.load(path, mmap_mode="r")
        self.path = path
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
