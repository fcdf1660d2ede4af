"""What can have happened to a file between a kill and the rerun."""

from collections.abc import Callable
from pathlib import Path


def flip(file: Path) -> None:
    """A byte in the middle, and one behind the header that an array has; an empty file stays as it is."""
    content = bytearray(file.read_bytes())
    for position in {len(content) // 2, min(len(content) // 2, 131)} if content else ():
        content[position] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    """Half of it is gone."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def zero(file: Path) -> None:
    """As a file system leaves it whose journal holds the size only."""
    file.write_bytes(bytes(file.stat().st_size))


def empty(file: Path) -> None:
    """Nothing is left of it."""
    file.write_bytes(b"")


DAMAGES: list[Callable[[Path], None]] = [flip, truncate, zero, empty, Path.unlink]
