"""The files that are logged as artifacts: of targets, splits, scores and comparisons."""

import re
from pathlib import Path

from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.loading.hub import is_fetched
from secmi_exp.tracking.tracker import FileSet


def target_files(target: PreparedTarget, dataset: str, name: str, defense: str) -> FileSet | None:
    """Return the target's folder; None if it was fetched from the hub, where anybody finds it."""
    if is_fetched(target.folder):
        return None
    paths = sorted(path for path in target.folder.rglob("*") if path.is_file())
    files = {path.relative_to(target.folder).as_posix(): path for path in paths}
    facts = {"digest": target.digest, "trained_on": target.trained_on, "defense": defense}
    return FileSet(_artifact_name(dataset, name), "model", files, facts)


def split_files(folder: Path, dataset: str) -> FileSet:
    """Return the split in a run's directory."""
    return FileSet(_artifact_name(dataset, "split"), "dataset", _by_name(folder / "split.npz"))


def score_files(folder: Path, dataset: str, target: str, attack: str | None, seed: int | None) -> FileSet:
    """Return scores and results in the directory of a run with an attack."""
    files = _by_name(folder / "scores.parquet", folder / "results.json")
    facts = {"attack": attack, "dataset": dataset, "target": target, "seed": seed}
    return FileSet(_artifact_name(dataset, target, str(attack)), "scores", files, facts)


def comparison_files(folder: Path) -> FileSet:
    """Return the files of the comparison in a sweep's directory."""
    files = _by_name(*sorted(folder.glob("comparison*.*")))
    return FileSet("comparison", "comparison", files, {"sweep": folder.name})


def _by_name(*paths: Path) -> dict[str, Path]:
    return {path.name: path for path in paths}


def _artifact_name(*parts: str) -> str:
    """Join parts with the characters that W&B allows in a name, and at most as many.

    >>> _artifact_name("digits", "my target/2")
    'digits-my-target-2'
    """
    return re.sub(r"[^\w.-]", "-", "-".join(parts))[:128]
