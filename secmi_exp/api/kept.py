"""What is given as objects in memory, written to the store once, so that a configuration can name it by a path."""

import hashlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from secmi_exp.files.storage_errors import explain_storage_errors
from secmi_exp.store import Key, Store, file_digest

VERSION = 1
"""Version of the layout below."""


def keep(store: Store, kind: str, name: str, write: Callable[[Path], object], decisive: str = "**/*") -> Path:
    """Write something into the store under the digest of its files, unless the store has it.

    It is written first and recognised then: its files are what a run reads, whatever object they were made of.

    Args:
        store: the store that it is written to.
        kind: kind of the store's entry.
        name: name of the file or folder in the entry.
        write: function that writes it to a given path, which doesn't exist yet.
        decisive: the files whose content tells it from others.

    Returns:
        The path within the store.
    """
    with explain_storage_errors(store.place):
        made = (
            store.root / "work" / f"{kind}-{uuid.uuid4().hex}"
        )  # where `python -m secmi_exp.store gc` finds a killed one
        made.mkdir(parents=True)
        try:
            write(made / name)
            files = name if (made / name).is_file() else f"{name}/*.json"
            key = Key(kind, VERSION, {}, {"content": content_digest(made, decisive)}, files=(files,))

            def build(workspace: Path) -> None:
                shutil.rmtree(workspace / name, ignore_errors=True)  # of one killed before its entry was finished
                (made / name).replace(workspace / name)

            return store.get_or_build(key, build).path / name
        finally:
            shutil.rmtree(made, ignore_errors=True)


def content_digest(folder: Path, decisive: str) -> str:
    """SHA-256 over names and contents of the decisive files in a folder."""
    content = hashlib.sha256()
    for file in sorted(each for each in folder.glob(decisive) if each.is_file()):
        content.update(f"{file.relative_to(folder).as_posix()}\0{file_digest(file)}\0".encode())
    return content.hexdigest()
