"""Who can be compared with whom in a sweep: scorers that scored the same samples, under names that tell them apart."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from secmi_exp.data.split import Part
from secmi_exp.evaluation.scored import Scored
from secmi_exp.reporting.jobs import Job, swept_names

log = logging.getLogger(__name__)

DRAWN_SPLIT = ("split", "split.path", "split.members", "split.holdouts")
"""Settings that name another split of the same data, where they name a file or a rule and not a size."""


@dataclass(frozen=True)
class Scoring:
    """What one scorer of one job gave on the evaluation part."""

    job: Job
    scorer: str
    evaluated: Scored
    samples: str
    """Digest of which samples were attacked, as what, and which of them judge."""
    found: Mapping[str, Any]
    """Of results.json: metrics, ci95, unresolved."""

    @property
    def auc(self) -> float:
        """As its job found it."""
        return float(self.found["metrics"]["auc"])


@dataclass(frozen=True)
class Contender:
    """An attack with its settings, and its runs: several where seeds or splits were swept."""

    label: str
    runs: Mapping[tuple[str | None, ...], Scoring]
    """Values of what was repeated → what came of it."""


@dataclass(frozen=True)
class Contest:
    """Contenders that attacked the same samples, at least in some of their runs."""

    title: str
    """Settings that tell this contest from the sweep's others; empty where it is the only one."""
    contenders: list[Contender]
    """Two or more, or one with several runs; each label once."""

    @property
    def repeated(self) -> bool:
        """Whether there are runs to be averaged over; otherwise all have scored the very same samples."""
        return any(len(contender.runs) > 1 for contender in self.contenders)

    @property
    def scorings(self) -> list[Scoring]:
        """Of all runs of all contenders."""
        return [run for contender in self.contenders for run in contender.runs.values()]

    @property
    def targets(self) -> int:
        """How many different weights were attacked, by the folders that keep them; some attacks ask none."""
        return len({folder for run in self.scorings if (folder := run.job.results.get("target_folder"))})


def contests(jobs: Sequence[Job]) -> list[Contest]:
    """Sort the scorers of a sweep's jobs into contests; jobs without scores, or alone with theirs, are in none."""
    scorings = _without_repeats([scoring for job in jobs for scoring in _scorings(job)])
    swept = swept_names(list({scoring.job.name: scoring.job.given for scoring in scorings}.values()))
    drawn = [name for name in swept if _is_drawn(name, scorings)]
    settings = [name for name in swept if name not in drawn]
    runs: dict[_Entry, dict[tuple[str | None, ...], Scoring]] = {}
    for scoring in scorings:
        entry = _Entry(scoring.scorer, tuple(scoring.job.given.get(name) for name in settings))
        runs.setdefault(entry, {})[tuple(scoring.job.given.get(name) for name in drawn)] = scoring
    groups = [group for group in _sharing_samples(runs) if len(group) > 1 or len(runs[group[0]]) > 1]
    apart = _telling_apart(groups, settings) if len(groups) > 1 else []
    found = []
    for number, group in enumerate(groups, 1):
        labels = _labels(group, settings)
        title = ", ".join(_setting(settings, place, group[0].values[place]) for place in apart)
        contenders = [Contender(label, runs[entry]) for label, entry in zip(labels, group, strict=True)]
        found.append(Contest(title or (f"samples {number}" if len(groups) > 1 else ""), contenders))
    return found


@dataclass(frozen=True)
class _Entry:
    scorer: str
    values: tuple[str | None, ...]
    """Of the settings that were swept."""


def _scorings(job: Job) -> list[Scoring]:
    """Of each scorer that was judged, the job's own first."""
    path = job.folder / "scores.parquet"
    if not path.is_file() or "metrics" not in job.results:
        return []
    try:
        table = pa.parquet.read_table(path)
        which = [table[name].to_pylist() for name in ("id", "is_member", "part")]
        judged = np.array(which[2]) == str(Part.EVALUATION)
        is_member = np.array(which[1], dtype=bool)[judged]
        found = {job.results["attack"]: job.results, **job.results.get("others", {})}
        found = {name: each for name, each in found.items() if each["metrics"].get("auc") is not None}
        columns = {name: table[f"score_{name}"].to_numpy() for name in found if f"score_{name}" in table.column_names}
    except (OSError, KeyError, pa.ArrowException) as error:
        log.warning("Job %s is not compared, since its scores can't be read: %s", job.name, error)
        return []
    samples = hashlib.sha256(json.dumps([job.results.get("dataset"), *which]).encode()).hexdigest()
    return [
        Scoring(job, name, Scored(scores[judged].astype(np.float64), is_member), samples, found[name])
        for name, scores in columns.items()
    ]


def _without_repeats(scorings: Sequence[Scoring]) -> list[Scoring]:
    """A job's further scorers stay only where no other job has the same scores, such as stat in jobs of stat and nn."""
    kept = [scoring for scoring in scorings if scoring.scorer == scoring.job.results["attack"]]
    for scoring in scorings:
        same = (
            other.scorer == scoring.scorer
            and other.samples == scoring.samples
            and np.array_equal(other.evaluated.scores, scoring.evaluated.scores)
            for other in kept
        )
        if scoring.scorer != scoring.job.results["attack"] and not any(same):
            kept.append(scoring)
    return kept


def _is_drawn(name: str, scorings: Iterable[Scoring]) -> bool:
    """Whether a setting only repeats the experiment by another draw: a seed, or a split that isn't another size."""
    if name.rpartition(".")[2] == "seed":
        return True
    values = {scoring.job.given.get(name) for scoring in scorings}
    return name in DRAWN_SPLIT and not any(value is None or value.isdigit() or value == "null" for value in values)


def _sharing_samples(runs: Mapping[_Entry, Mapping[Any, Scoring]]) -> list[list[_Entry]]:
    """Groups of entries, in their order, that are connected by samples that they have both scored."""
    groups: list[tuple[set[str], list[_Entry]]] = []
    for entry, its_runs in runs.items():
        samples, entries = {scoring.samples for scoring in its_runs.values()}, [entry]
        joined = [group for group in groups if group[0] & samples]
        for group in joined:
            samples |= group[0]
        entries = [each for group in joined for each in group[1]] + entries
        groups = [group for group in groups if group not in joined] + [(samples, entries)]
    return [entries for _, entries in groups]


def _telling_apart(groups: Sequence[Sequence[_Entry]], settings: Sequence[str]) -> list[int]:
    """Places of the settings that are one within each group, and not the same in all."""
    values = [[{entry.values[place] for entry in group} for group in groups] for place in range(len(settings))]
    return [
        place
        for place, of_groups in enumerate(values)
        if all(len(each) == 1 for each in of_groups) and len(set().union(*of_groups)) > 1
    ]


def _labels(group: Sequence[_Entry], settings: Sequence[str]) -> list[str]:
    """The scorer, and the settings in which the entries with this scorer differ."""
    labels = []
    for entry in group:
        alike = [other for other in group if other.scorer == entry.scorer]
        differing = [place for place in range(len(settings)) if len({other.values[place] for other in alike}) > 1]
        told = [
            _setting(settings, place, entry.values[place]) for place in differing if entry.values[place] is not None
        ]
        labels.append(" ".join([entry.scorer, *told]))
    times = Counter(labels)
    return [label if times[label] == 1 else f"{label} #{place}" for place, label in enumerate(labels, 1)]


def _setting(settings: Sequence[str], place: int, value: str | None) -> str:
    """NAME=VALUE, with the last part of the name where that is enough."""
    short = [name.rpartition(".")[2] for name in settings]
    return f"{short[place] if short.count(short[place]) == 1 else settings[place]}={value}"
