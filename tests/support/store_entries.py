"""Entries of a store."""

from pathlib import Path

from secmi_exp.store import Key

KEY = Key("thing", 1, {"a": 1}, files=("content.txt",))

OTHER = Key("thing", 1, {"a": 2}, files=("content.txt",))


def write(text: str, workspace: Path) -> None:
    (workspace / "content.txt").write_text(text)
