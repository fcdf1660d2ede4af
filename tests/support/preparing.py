"""Targets prepared as a run prepares them, and what an attacker would have them read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from secmi_exp.data.images import Images
from secmi_exp.runtime import Runtime
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget, Target

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
"""What lies in a file's place where Git LFS has not fetched it."""


def cpu(**settings: Any) -> Runtime:
    """The CPU, with whatever else a test wants."""
    given: dict[str, Any] = {
        "accelerator": "cpu", "devices": 1, "nodes": 1, "precision": "32", "query_precision": "32",
        "query_batch_size": 4, "device_batch_size": None, "compile": False, "progress_bar": False,
    }  # fmt: skip
    return Runtime(**given | settings)


def images(*shape: int) -> Images:
    """Two images of a shape (C, H, W)."""
    return Images.of(np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8))


def no_logger() -> None:
    """Metrics go nowhere."""


def prepare(target: Target, store: Path, *shape: int) -> PreparedTarget:
    """For images of this shape."""
    return target.prepare(images(*shape), Store(store), cpu(), no_logger)


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
