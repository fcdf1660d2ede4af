"""Which files of a run become artifacts at Weights & Biases, under which names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from secmi_exp.store import Json
from secmi_exp.tracking.tracker import FileSet

if TYPE_CHECKING:
    from secmi_exp.targets.interface import PreparedTarget


def target_files(header: Mapping[str, Json], target: PreparedTarget) -> FileSet | None:
    """The target's folder; None for one that was fetched from the hub, where anybody finds it.

    Args:
        header: the fields of results.json that tell what was run.
        target: that was attacked or trained.
    """
    from secmi_exp.targets.hub import is_fetched

    if is_fetched(target.folder):
        return None
    files = sorted(path for path in target.folder.rglob("*") if path.is_file())
    return FileSet(
        _name(header["dataset"], header["target"]),
        "model",
        {path.relative_to(target.folder).as_posix(): path for path in files},
        {"digest": target.digest, "trained_on": target.trained_on, "defense": header["defense"]},
    )


def split_files(header: Mapping[str, Json], folder: Path) -> FileSet:
    """The split that a run's directory holds."""
    return FileSet(_name(header["dataset"], "split"), "dataset", _named(folder / "split.npz"))


def score_files(header: Mapping[str, Json], folder: Path) -> FileSet:
    """Scores and results that an attack has left in the run's directory."""
    return FileSet(
        _name(header["dataset"], header["target"], header["attack"]),
        "scores",
        _named(folder / "scores.parquet", folder / "results.json"),
        {name: header[name] for name in ("attack", "dataset", "target", "seed")},
    )


def comparison_files(folder: Path) -> FileSet:
    """What a sweep's directory holds of the comparison of its jobs."""
    return FileSet("comparison", "comparison", _named(*sorted(folder.glob("comparison*.*"))), {"sweep": folder.name})


def _named(*paths: Path) -> dict[str, Path]:
    return {path.name: path for path in paths}


def _name(*parts: Json) -> str:
    """Of an artifact, in the characters that W&B allows, and at most as many.

    >>> _name("digits", "my target/2")
    'digits-my-target-2'
    """
    return re.sub(r"[^\w.-]", "-", "-".join(map(str, parts)))[:128]
