"""Entries of a store."""

from collections.abc import Callable
from pathlib import Path

from secmi_exp.store import Key

KEY = Key("thing", 1, {"a": 1}, files=("content.txt",))

OTHER = Key("thing", 1, {"a": 2}, files=("content.txt",))


def write(text: str, workspace: Path) -> None:
    (workspace / "content.txt").write_text(text)


def leaving(name: str, content: bytes) -> Callable[[Path], None]:
    """A build that leaves one file."""

    def build(workspace: Path) -> None:
        (workspace / name).write_bytes(content)

    return build
