"""Files that an attacker would have a run read, and what a refused run leaves."""

import os
from collections.abc import Callable
from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
"""What lies in a file's place where Git LFS has not fetched it."""


class Opens:
    """What an attacker puts into a pickle: unpickling it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def naming(folder: Path, path: Path) -> list[Path]:
    """The files in a folder in which a path stands."""
    return [file for file in folder.rglob("*") if file.is_file() and str(path).encode() in file.read_bytes()]


def is_empty(store: Path) -> bool:
    """Whether a store holds neither entries nor workspaces; a count of queries may be there, of none."""
    besides = [path for path in store.rglob("*") if path.parent.name != "locks" and path.name not in ("work", "locks")]
    return all(path.name.startswith("queries-") and path.stat().st_size == 0 for path in besides)
