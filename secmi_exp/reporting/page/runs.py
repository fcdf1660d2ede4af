"""Runs and sweeps in directories, and what is known of those that have left no result."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import yaml
from pydantic import ValidationError

from secmi_exp.errors import UserError, first_line
from secmi_exp.plain_yaml import read_yaml
from secmi_exp.regular_files import open_regular, read_regular
from secmi_exp.reporting.jobs import FAILURE, overrides
from secmi_exp.reporting.page.results_file import Results
from secmi_exp.shown_text import LONGEST_LINE, shortened

DEEPEST = 4
"""Levels below a directory named at which its runs may lie: outputs/sweeps/DATE/TIME/JOB."""
MOST_TEXT = 2**16
"""Bytes at the end of a log that its last line is looked for in."""


@dataclass(frozen=True, eq=False)
class Run:
    """A run that has left a result; equal to itself alone."""

    folder: Path
    shown: str
    """Its path, as short as tells the runs of a page apart."""
    results: Results
    given: dict[str, str]
    """Its overrides, as far as they are recorded."""
    config: dict[str, str]
    """Its configuration, NAME.NAME → value; empty where it can't be read."""
    written: datetime
    """When its results were."""


@dataclass(frozen=True)
class Failure:
    """A directory that should have a result and has none."""

    shown: str
    reason: str
    given: dict[str, str] = field(default_factory=dict)
    last_words: str = ""
    """The last line of its log."""


@dataclass(frozen=True)
class Findings:
    """What some directories hold."""

    runs: list[Run]
    failures: list[Failure]


def find(folders: Sequence[Path]) -> Findings:
    """Read all runs in and below some directories, each once.

    Raises:
        UserError: for a directory that doesn't exist, or where nothing at all is found.
    """
    places: dict[Path, None] = {}
    fruitless = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"There is no directory {folder}: name directories of runs or sweeps.")
        found = list(_places(folder.resolve(), DEEPEST))
        places |= dict.fromkeys(found)
        if not found:
            fruitless.append(Failure(str(folder), "There is no run in it."))
    if not places:
        raise UserError(f"There is no run in {', '.join(map(str, folders))}: name directories of runs or sweeps.")
    above = Path(os.path.commonpath([place.parent for place in places]))
    read = [_read(place, str(place.relative_to(above))) for place in places]
    failures = [each for each in read if isinstance(each, Failure)]
    return Findings([each for each in read if isinstance(each, Run)], failures + fruitless)


def _places(folder: Path, levels: int) -> Iterator[Path]:
    """Directories of runs, ended or not, in and below a directory; 2 before 10."""
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
        yield from _places(each, levels - 1)


def _read(folder: Path, shown: str) -> Run | Failure:
    given, file = _overrides(folder), folder / "results.json"
    if (folder / FAILURE).is_file() and not file.is_file():
        return Failure(shown, f"It failed: {shortened(_text(folder / FAILURE).strip(), LONGEST_LINE)}", given)
    if not file.is_file():
        reason = "It has no results.json: it was stopped, or is still running."
        return Failure(shown, reason, given, _last_words(folder))
    try:
        results = Results.model_validate_json(read_regular(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        return Failure(shown, f"Its results.json can't be read ({where}: {first['msg']}).", given, _last_words(folder))
    except OSError as error:
        return Failure(shown, f"Its results.json can't be read ({first_line(error)}).", given)
    written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return Run(folder, shown, results, given, _config(folder), written)


def _overrides(folder: Path) -> dict[str, str]:
    try:
        return overrides(folder)
    except (OSError, TypeError, yaml.YAMLError):
        return {}


def _config(folder: Path) -> dict[str, str]:
    try:
        content = read_yaml(folder / "config.yaml")
    except (OSError, yaml.YAMLError):
        return {}
    return dict(_flattened(content)) if isinstance(content, dict) else {}


def _flattened(node: dict[object, object], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flattened(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", "null" if value is None else str(value)


def _last_words(folder: Path) -> str:
    """Of the log that was written last."""
    try:
        logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    except OSError:
        return ""
    lines = _text(logs[-1]).strip().splitlines() if logs else []
    return lines[-1].strip()[:400] if lines else ""


def _text(path: Path) -> str:
    """The end of a text file; nothing where it can't be read."""
    try:
        with open_regular(path) as file:
            file.seek(max(os.fstat(file.fileno()).st_size - MOST_TEXT, 0))
            return file.read(MOST_TEXT).decode("utf-8", "replace")
    except OSError:
        return ""
