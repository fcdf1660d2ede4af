"""The rows of the page: each scorer of each run, under a name of its own, with its ROC where the scores are at hand."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from secmi_exp.data.parquet_files import open_parquet
from secmi_exp.data.split import Part
from secmi_exp.errors import UserError, first_line
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Floats, Scored
from secmi_exp.reporting.page.results_file import Judged
from secmi_exp.reporting.page.runs import Run

UNTOLD = {"attack", "dataset", "target", "logger", "trainer.progress_bar"}
"""Settings that a name has already, or that say nothing of what a run found."""
LONGEST_VALUE = 32
"""Characters of a setting's value in a name."""


class Sample(NamedTuple):
    """What was judged, and how it came out."""

    scored: Scored
    t_errors: Floats | None
    """Where the score is the negative t-error."""
    roc: Roc
    digest: str
    """Of the dataset's name, which samples judge, and as what."""


@dataclass(frozen=True)
class Entry:
    """One scorer of one run."""

    name: str
    run: Run
    scorer: str | None
    """None for a run without an attack."""
    judged: Judged
    sample: Sample | None
    """None where the scores are not at hand."""
    lacking: str = ""
    """Why they aren't."""

    @property
    def auc(self) -> float | None:
        """As the run found it."""
        return self.judged.metrics.get("auc")


Names = dict[Run, str]


def entries(runs: Sequence[Run]) -> list[Entry]:
    """All scorers of all runs, the highest AUC first, those without one last.

    A run's further scorers are left out where another run has the same scores: stat in jobs of stat and nn.
    """
    found = [entry for run in runs for entry in _entries(run)]
    own = {_scores_digest(entry) for entry in found if entry.scorer == entry.run.results.attack}
    kept: list[Entry] = []
    for entry in found:
        if entry.scorer != entry.run.results.attack and entry.sample:
            if (digest := _scores_digest(entry)) in own:
                continue
            own.add(digest)
        kept.append(entry)
    kept.sort(key=lambda entry: -entry.auc if entry.auc is not None else 1.0)
    return [replace(entry, name=name) for entry, name in zip(kept, _names(kept), strict=True)]


def _entries(run: Run) -> Iterator[Entry]:
    if not run.results.judged:
        yield Entry("", run, None, run.results, None, "no attack was made")
        return
    table, lacking = None, ""
    try:
        with open_parquet(run.folder / "scores.parquet") as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        lacking = f"scores.parquet can't be read ({first_line(error)[:120]})"
    for scorer, judged in run.results.judged.items():
        sample, reason = None, lacking
        if table is not None:
            try:
                sample = _sample(table, scorer, run.results.dataset)
            except KeyError as error:
                reason = f"scores.parquet has no column {first_line(error)}"
            except (UserError, ValueError, TypeError, pa.ArrowException) as error:
                reason = f"the scores can't be used ({first_line(error)[:120]})"
        yield Entry("", run, scorer, judged, sample, reason)


def _sample(table: pa.Table, scorer: str, dataset: str) -> Sample:
    judged = np.asarray(table["part"].to_pylist()) == str(Part.EVALUATION)
    is_member = np.asarray(table["is_member"].to_pylist(), dtype=bool)[judged]
    scores = table[f"score_{scorer}"].to_numpy()[judged].astype(np.float64)
    t_errors = table["t_error"].to_numpy()[judged].astype(np.float64) if "t_error" in table.column_names else None
    same = t_errors is not None and np.array_equal(scores, -t_errors)
    which = "\n".join(map(str, np.asarray(table["id"].to_pylist())[judged]))
    digest = hashlib.sha256(b"\n".join([dataset.encode(), which.encode(), is_member.tobytes()])).hexdigest()
    return Sample(Scored(scores, is_member), t_errors if same else None, Roc.of(scores, is_member), digest)


def _scores_digest(entry: Entry) -> tuple[str | None, str, str]:
    sample = entry.sample
    scores = hashlib.sha256(sample.scored.scores.tobytes()).hexdigest() if sample else entry.run.shown
    return entry.scorer, sample.digest if sample else "", scores


def _names(found: Sequence[Entry]) -> list[str]:
    """Scorer, dataset and target where there are several, and the fewest settings that tell runs apart.

    Where no recorded setting does, the end of the path follows.
    """
    stems = _stems(found)
    alike: dict[str, list[Entry]] = {}
    for stem, entry in zip(stems, found, strict=True):
        alike.setdefault(stem, []).append(entry)
    settings = {stem: _telling_apart(group) for stem, group in alike.items()}
    names = [" ".join([stem, *_settings(entry, settings[stem])]) for stem, entry in zip(stems, found, strict=True)]
    same: dict[str, list[str]] = {}
    for name, entry in zip(names, found, strict=True):
        same.setdefault(name, []).append(entry.run.shown)
    return [
        name if len(same[name]) == 1 else f"{name} ({_end(entry.run.shown, same[name])})"
        for name, entry in zip(names, found, strict=True)
    ]


def _stems(found: Sequence[Entry]) -> list[str]:
    """Scorer, the dataset where there are several, and the target where several were attacked by it on that dataset."""
    stems = []
    several = len({entry.run.results.dataset for entry in found}) > 1
    targets: dict[tuple[str | None, str], set[str]] = {}
    for entry in found:
        targets.setdefault((entry.scorer, entry.run.results.dataset), set()).add(entry.run.results.target)
    for entry in found:
        results = entry.run.results
        further = [f"by {results.attack}"] if entry.scorer != results.attack else []
        words = [entry.scorer or "target only", *further, *[results.dataset] * several]
        if len(targets[entry.scorer, results.dataset]) > 1:
            words.append(results.target)
        stems.append(" ".join(words))
    return stems


def _telling_apart(group: Sequence[Entry]) -> list[str]:
    """Settings, the one with most values first, as long as each tells more runs apart."""
    given = dict.fromkeys(name for entry in group for name in entry.run.given)
    values = {name: [entry.run.given.get(name) for entry in group] for name in given}
    chosen: list[str] = []
    apart = 1
    for name in sorted(values, key=lambda name: -len(set(values[name]))):
        if (
            name not in UNTOLD
            and (now := len(set(zip(*(values[each] for each in [*chosen, name]), strict=True)))) > apart
        ):
            chosen.append(name)
            apart = now
    return chosen


def _settings(entry: Entry, names: Sequence[str]) -> list[str]:
    """NAME=VALUE, each shortened."""
    told = []
    for name in names:
        if (value := entry.run.given.get(name)) is not None:
            short = value if len(value) <= LONGEST_VALUE else f"{value[:8]}…{value[9 - LONGEST_VALUE :]}"
            told.append(f"{name.rpartition('.')[2]}={short}")
    return told


def _end(path: str, paths: Sequence[str]) -> str:
    """As many last parts of a path as no other ends with."""
    parts = path.split("/")
    ends = ("/".join(parts[-count:]) for count in range(1, len(parts) + 1))
    return next(end for end in ends if sum(f"/{other}".endswith(f"/{end}") for other in paths) == 1 or end == path)


def names_by_run(entries: Sequence[Entry]) -> Names:
    """Each run under the name of its leading entry."""
    names: Names = {}
    for entry in entries:
        if entry.scorer == entry.run.results.attack or entry.run not in names:
            names[entry.run] = entry.name
    return names
