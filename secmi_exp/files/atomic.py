"""Atomic writing: a file appears complete or not at all, even if the process is killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".*.partial"
"""Pattern of the names of incomplete files, which are neither read nor kept."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the path to write a file to, which is renamed to ``path`` when the context ends.

    It lies beside that place, so that this is one rename on one file system, and always has the same name, so that what
    a killed process has left is written over by the next one.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
