"""Whether files outside of the store are still those that were decoded, found without decoding them."""

import hashlib
import os
from collections.abc import Iterable, Iterator

from secmi_exp.files.regular import open_regular
from secmi_exp.store import Verify

BLOCK = 4096
"""Bytes that are read at a file's beginning and at its end …"""
SMALL = 4 * BLOCK
"""… unless it has no more bytes than these, and is read whole."""
CHUNK = 2**20
"""Bytes that are read at a time of files that are read whole."""


def files_fingerprint(paths: Iterable[str], verify: Verify) -> str:
    """SHA-256 of what tells these files from others in their place, in hexadecimal.

    Changed: size, times of modification and of status change, inode, and two blocks; files are the same after their
    folder was moved, and copies are others. Always: the content alone. A file that can't be read counts as such; what
    to do about it is said when it is decoded.

    Args:
        paths: of the files; their order counts.
        verify: see `Verify`.
    """
    content = hashlib.sha256()
    for path in paths:
        try:
            opened = open_regular(path)
        except OSError as error:
            content.update(f"unreadable {error.errno}\n".encode())
            continue
        file = opened.fileno()
        try:
            stat = os.fstat(file)
            content.update(f"{stat.st_size}\n".encode())
            if verify == "changed":
                content.update(f"{stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}\n".encode())
            for block in all_blocks(file) if verify == "always" else some_blocks(file, stat.st_size):
                content.update(block)
        except OSError as error:
            content.update(f"unreadable {error.errno}\n".encode())
        finally:
            opened.close()
    return content.hexdigest()


def some_blocks(file: int, size: int) -> Iterator[bytes]:
    """The first and the last block of an open file; all of a small one."""
    if size <= SMALL:
        yield os.pread(file, SMALL, 0)
    else:
        yield os.pread(file, BLOCK, 0)
        yield os.pread(file, BLOCK, size - BLOCK)


def all_blocks(file: int) -> Iterator[bytes]:
    """An open file, block by block."""
    while block := os.read(file, CHUNK):
        yield block
