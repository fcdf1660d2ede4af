"""Directories of finished and failed runs, alone or in sweeps."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from secmi_exp.errors import UserError
from secmi_exp.files.plain_yaml import read_yaml
from secmi_exp.files.regular import read_end
from secmi_exp.reporting.failure_file import read_failure
from secmi_exp.reporting.results_file import Results, read_results

DEEPEST = 4
"""Levels below a given directory that are searched for runs: outputs/sweeps/DATE/TIME/JOB."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run that has results; equal to itself only."""

    folder: Path
    shown: str
    """The end of its path that tells it from the runs that were read with it; a job's number in its sweep."""
    overrides: Mapping[str, str]
    """Setting → value on its command line; empty if not recorded."""
    results: Results

    @cached_property
    def config(self) -> Mapping[str, str]:
        """Its configuration, ``group.setting`` → value; empty if it can't be read."""
        content = _read_yaml(self.folder / "config.yaml")
        return dict(_flatten(content)) if isinstance(content, dict) else {}

    @property
    def written(self) -> datetime:
        """When results.json was written."""
        return datetime.fromtimestamp((self.folder / "results.json").stat().st_mtime, UTC)

    def row(self) -> dict[str, Any]:
        """Return its row of summary.csv: overrides, metrics, quality, privacy, cost and warnings."""
        results = self.results
        metrics = results.estimates() | (results.quality.estimates() if results.quality else {})
        if results.validation:
            metrics["validation_auc"] = results.validation.estimate("auc")
        row: dict[str, Any] = {"job": self.shown, **self.overrides}
        for name, estimate in metrics.items():
            row |= estimate.columns(name)
        if results.privacy:
            bound = results.epsilon_lower_bound
            row |= {"epsilon_spent": results.privacy.epsilon, "epsilon_refuted": bound.epsilon if bound else None}
        if results.gate:
            row["gate"] = str(results.gate.outcome)
        codes = dict.fromkeys(warning.code for warning in results.warnings or [])
        return row | {
            "queries_per_sample": results.queries_per_sample,
            "queries_spent": results.queries_spent,
            "seconds": round(results.seconds, 3),
            "warnings": " ".join(codes),
        }


@dataclass(frozen=True)
class FailedRun:
    """A directory of a run without results that can be read."""

    shown: str
    overrides: Mapping[str, str]
    reason: str
    """A sentence about the directory."""
    failure: str = ""
    """What the run itself recorded before it ended, if it did."""
    last_log_line: str = ""
    has_results: bool = False
    """Whether there is a results.json, which can't be read."""

    def row(self) -> dict[str, Any]:
        """Return its row of summary.csv."""
        return {"job": self.shown, **self.overrides, "failure": self.failure}


@dataclass(frozen=True)
class Runs:
    """The runs in some directories."""

    finished: list[FinishedRun] = field(default_factory=list)
    failed: list[FailedRun] = field(default_factory=list)


def read_sweep(folder: Path) -> Runs:
    """Read the jobs of a sweep, by number."""
    return _read_all({place: place.name for place in _run_folders(folder, levels=1)})


def find_runs(folders: Sequence[Path]) -> Runs:
    """Read all runs in and below some directories, each once.

    Raises:
        UserError: if a directory doesn't exist, or there is no run at all.
    """
    places: dict[Path, None] = {}
    empty = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"There is no directory {folder}: name directories of runs or sweeps.")
        below = list(_run_folders(folder.resolve(), DEEPEST))
        places |= dict.fromkeys(below)
        if not below:
            empty.append(FailedRun(str(folder), {}, "There is no run in it."))
    if not places:
        raise UserError(f"There is no run in {', '.join(map(str, folders))}: name directories of runs or sweeps.")
    common = Path(os.path.commonpath([place.parent for place in places]))
    runs = _read_all({place: str(place.relative_to(common)) for place in places})
    return Runs(runs.finished, runs.failed + empty)


def swept_settings(overrides: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the settings in which runs differ.

    >>> swept_settings([{"attack": "stat", "seed": "0"}, {"attack": "stat", "seed": "1"}])
    ['seed']
    """
    names = dict.fromkeys(name for each in overrides for name in each)
    return [name for name in names if len({each.get(name) for each in overrides}) > 1]


def _run_folders(folder: Path, levels: int) -> Iterator[Path]:
    """Yield the directories of runs, finished or not, in and below a directory; 2 before 10."""
    if (folder / "results.json").is_file() or (folder / ".hydra").is_dir():
        yield folder
        return
    if levels == 0:
        return
    try:
        below = [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink() and each.name[0] != "."]
    except OSError:
        return
    for each in sorted(below, key=lambda each: (len(each.name) if each.name.isdigit() else 0, each.name)):
        yield from _run_folders(each, levels - 1)


def _read_all(places: Mapping[Path, str]) -> Runs:
    read = [_read_run(folder, shown) for folder, shown in places.items()]
    finished = [each for each in read if isinstance(each, FinishedRun)]
    return Runs(finished, [each for each in read if isinstance(each, FailedRun)])


def _read_run(folder: Path, shown: str) -> FinishedRun | FailedRun:
    overrides = _read_overrides(folder)
    if (folder / "results.json").is_file():
        try:
            return FinishedRun(folder, shown, overrides, read_results(folder / "results.json"))
        except UserError as error:
            return FailedRun(shown, overrides, f"Its {error}", last_log_line=_last_log_line(folder), has_results=True)
    if failure := read_failure(folder):
        return FailedRun(shown, overrides, f"It failed: {failure}", failure)
    reason = "It has no results.json: it was stopped, or is still running."
    return FailedRun(shown, overrides, reason, last_log_line=_last_log_line(folder))


def _read_overrides(folder: Path) -> dict[str, str]:
    content = _read_yaml(folder / ".hydra/overrides.yaml")
    pairs = (str(each).lstrip("+").partition("=") for each in content) if isinstance(content, list) else ()
    return {name: value for name, _, value in pairs}


def _read_yaml(path: Path) -> object:
    try:
        return read_yaml(path)
    except (OSError, yaml.YAMLError):
        return None


def _flatten(node: Mapping[object, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "null" if value is None else str(value)


def _last_log_line(folder: Path) -> str:
    """Return the last line of the log that was written last."""
    try:
        logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    except OSError:
        return ""
    lines = read_end(logs[-1]).strip().splitlines() if logs else []
    return lines[-1].strip()[:400] if lines else ""
