"""Trials: a command is killed at each of its operations on files, run again, and compared with an undisturbed one."""

import hashlib
import json
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kills.forks import HUNG, QUERIES, Ended, Main, in_fork
from tests.kills.operations import Operation


@dataclass(frozen=True)
class Left:
    """What a run has left, apart from times."""

    scores: str
    """Digest of scores.parquet."""
    metrics: Any
    queries_spent: int
    store: dict[str, str]
    """File → digest; of a manifest, without its time."""


def run_left(ended: Ended, folder: Path) -> Left:
    """What a run has left that has ended well."""
    run = folder / ended.output.splitlines()[-1]
    results = json.loads((run / "results.json").read_text())
    scores = run / "scores.parquet"
    digest = hashlib.sha256(scores.read_bytes()).hexdigest() if scores.exists() else ""
    return Left(digest, results.get("metrics"), results.get("queries_spent", 0), store_files(folder))


def store_files(folder: Path) -> dict[str, str]:
    """All files of the store but locks."""
    root = folder / "outputs/store"
    files = (file for file in sorted(root.rglob("*")) if file.is_file() and file.relative_to(root).parts[0] != "locks")
    return {without_chance(file.relative_to(root).as_posix()): content_digest(file) for file in files}


def without_chance(path: str) -> str:
    """A path without what is drawn for it at random."""
    return re.sub(r"-[0-9a-f]{8}(?=/|$)", "", path)


def content_digest(file: Path) -> str:
    content = file.read_bytes()
    if file.name == "entry.json":
        content = re.sub(rb'"seconds": [\d.e-]+', b"", content)
    return hashlib.sha256(content).hexdigest()


def leftovers(folder: Path) -> list[str]:
    """What lies where nothing should lie after a run."""
    places = [folder / "outputs/store/work", folder / "tmp"]
    return [path.relative_to(folder).as_posix() for place in places if place.is_dir() for path in place.rglob("*")]


def state_of(folder: Path) -> str:
    """A digest of all that the next run may find: equal ones need no second trial."""
    temporary = sorted(path.relative_to(folder).as_posix() for path in (folder / "tmp").rglob("*"))
    paths = (folder / "outputs/store").rglob("*/")
    folders = sorted(without_chance(path.relative_to(folder).as_posix()) for path in paths)
    return hashlib.sha256(json.dumps([store_files(folder), temporary, folders, QUERIES.value]).encode()).hexdigest()


@dataclass
class Report:
    """Of all kills of one command."""

    operations: int = 0
    by_event: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    """At moments that differ in what lies in the folder from the one before."""
    states: int = 0
    """Different ones that the kills have left, each of which was continued."""
    tracebacks: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    """Kills after which more queries were made, in all, than were in flight."""
    queries: int = 0
    """That the command makes."""
    most_queries: int = 0
    """That it made together with the one that was killed."""
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        return [*self.tracebacks, *self.hangs, *self.differences, *self.repeated]


def kill_everywhere(
    main: Main,
    start: Path | None,
    folder: Path,
    *,
    only: Callable[[Operation, str], bool] = lambda operation, moment: True,
    left: Callable[[Ended, Path], Left] = run_left,
    share_in_flight: float = 0.5,
) -> Report:
    """Kill a command at each of its operations, run it again, and compare with a run that nobody has killed.

    Args:
        main: the command.
        start: folder that each trial begins with a copy of; None: an empty one.
        folder: for the trials.
        only: tells of an operation and a moment whether to kill then.
        left: tells what a run has left.
        share_in_flight: of all queries, those that no journal notes yet: of two batches, and a command makes four.
    """
    began = time.monotonic()
    fresh(start, folder / "undisturbed")
    QUERIES.clear()
    undisturbed = in_fork(main, folder / "undisturbed", state=state_of)
    assert undisturbed.status == 0, undisturbed.output
    expected, needed = left(undisturbed, folder / "undisturbed"), QUERIES.value
    assert expected.queries_spent == needed, (expected.queries_spent, needed)
    assert not leftovers(folder / "undisturbed"), leftovers(folder / "undisturbed")
    events = Counter(operation.event for operation in undisturbed.operations)
    report = Report(len(undisturbed.operations), dict(events), queries=needed)
    seen: set[str] = set()
    for at, operation in enumerate(undisturbed.operations):
        print(at, operation, *report.faults[-1:], file=sys.stderr)
        for moment in moments(undisturbed.operations, at):
            if not only(operation, moment):
                continue
            name = f"{moment} {at} {operation}"
            fresh(start, trial := folder / "trial")
            QUERIES.clear()
            killed = in_fork(main, trial, at=at, moment=moment)
            report.kills += 1
            if killed.status != -signal.SIGKILL:
                report.differences.append(f"{name}: ended with {killed.status} instead\n{killed.output[-2000:]}")
                continue
            if (state := state_of(trial)) in seen:
                continue
            seen.add(state)
            report.states += 1
            reported = any((trial / "outputs").glob("runs/*/*/results.json"))
            again = in_fork(main, trial)
            compare(name, again, trial, expected, left, report, reported=reported)
            if QUERIES.value > needed * (1 + share_in_flight):
                report.repeated.append(f"{name}: {QUERIES.value} queries instead of {needed}")
            report.most_queries = max(report.most_queries, QUERIES.value)
    report.seconds = round(time.monotonic() - began, 1)
    return report


def moments(operations: Sequence[Operation], at: int) -> list[str]:
    """Those of an operation at which something else lies in the folder than the moment before."""
    before, this, after = operations[at - 1 : at] or None, operations[at], operations[at + 1 : at + 2] or None
    changed = before is None or before[0].state != this.state
    changes = after is None or after[0].state != this.state
    return ["before"] * changed + ["within"] * this.creates + ["after"] * (changes or this.creates)


def compare(
    name: str, again: Ended, folder: Path, expected: Left, left_by: Callable[[Ended, Path], Left], report: Report,
    *, reported: bool,
) -> None:  # fmt: skip
    """Note in a report how a second run differs from an undisturbed one."""
    if again.status == HUNG:
        report.hangs.append(name)
    elif again.status:
        report.tracebacks.append(f"{name}: status {again.status}\n{again.output[-3000:]}")
    elif "Traceback" in again.output:
        report.tracebacks.append(f"{name}\n{again.output[-3000:]}")
    else:
        left = left_by(again, folder)
        files = {file for file in {*left.store, *expected.store} if left.store.get(file) != expected.store.get(file)}
        if (left.scores, left.metrics) != (expected.scores, expected.metrics):
            report.differences.append(f"{name}: other scores")
        if files:
            report.differences.append(f"{name}: the store differs in {sorted(files)}")
        if lasting := leftovers(folder):
            report.differences.append(f"{name}: left {lasting}")
        if not reported and left.queries_spent != QUERIES.value:
            report.differences.append(f"{name}: {left.queries_spent} queries told, {QUERIES.value} made")


def fresh(start: Path | None, folder: Path) -> None:
    """A copy of a folder, or an empty one."""
    shutil.rmtree(folder, ignore_errors=True)
    if start:
        shutil.copytree(start, folder)
    else:
        folder.mkdir(parents=True)
