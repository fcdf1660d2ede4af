"""Files that appear whole or not at all, whatever ends the process that writes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".*.partial"
"""Pattern of the names that files have until they are whole. What has such a name is never read, nor kept."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Where to write a file that takes its place at ``path`` once it is written.

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
