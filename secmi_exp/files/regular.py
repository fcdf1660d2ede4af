"""Opening files from strangers, or files that a list names: regular ones only, so that opening never blocks.

To open a named pipe waits for whoever writes into it, and a device may have no end.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

AnyPath = str | Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
MOST_BYTES = 2**30
"""Largest size of a file that is read whole, such as a list: far more than any list of images has."""


END = 2**16
"""Bytes at the end of a text file that are read."""


def open_regular(path: AnyPath) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: as `refuse_irregular` does, and where it can't be read.
    """
    refuse_irregular(path)
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def refuse_irregular(path: AnyPath) -> None:
    """Refuse anything but a regular file.

    Raises:
        OSError: where there is nothing, no regular file, or a name that no file can have.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116  (strings are as welcome as paths)
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise OSError(errno.EINVAL, "no file can have such a name", str(path)) from error
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {KINDS.get(kind, 'something else')}, and no file", str(path))


def read_regular(path: AnyPath, most: int = MOST_BYTES) -> bytes:
    """A whole file.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        OSError: as `open_regular` does, and for a file that is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EINVAL, f"it has {size:,} bytes, and {most:,} at most are read", str(path))
        return file.read(most)


def read_end(path: AnyPath) -> str:
    """The end of a text file, such as a log; nothing where it can't be read."""
    try:
        with open_regular(path) as file:
            file.seek(max(os.fstat(file.fileno()).st_size - END, 0))
            return file.read(END).decode("utf-8", "replace")
    except OSError:
        return ""


def is_regular(path: AnyPath) -> bool:
    """Whether there is a regular file, or a link to one; False where access is denied."""
    return _is_kind(path, stat.S_IFREG)


def is_folder(path: AnyPath) -> bool:
    """Whether there is a folder, or a link to one; False where access is denied."""
    return _is_kind(path, stat.S_IFDIR)


def _is_kind(path: AnyPath, kind: int) -> bool:
    try:
        return stat.S_IFMT(os.stat(path).st_mode) == kind  # noqa: PTH116
    except (OSError, ValueError):
        return False
