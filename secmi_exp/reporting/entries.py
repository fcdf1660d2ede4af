"""What tables and charts compare: each scorer of each run, with its scores and under a name of its own."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from secmi_exp.data.parquet_files import open_parquet
from secmi_exp.data.split import Part
from secmi_exp.errors import UserError, first_line, reason_without_path
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Bools, Floats, Scored
from secmi_exp.formatting import shortened
from secmi_exp.reporting.results_file import ScorerResults
from secmi_exp.reporting.run_folders import FinishedRun

NOT_IN_NAMES = {"attack", "dataset", "target", "logger", "trainer.progress_bar"}
"""Settings that a name has already, or that don't change results."""


@dataclass(frozen=True)
class EvaluatedScores:
    """The scores of the evaluation part."""

    scored: Scored
    roc: Roc
    t_errors: Floats | None
    """Set if the score is the negative t-error."""
    samples: str
    """Digest of the dataset's name, the samples and their membership."""
    ids: tuple[str, ...] = ()
    """Ids of images that are known by nothing else (``dataset=scored_images``); empty for others."""


@dataclass(frozen=True)
class Entry:
    """One scorer of one run."""

    run: FinishedRun
    scorer: str | None
    """None for a run without an attack."""
    results: ScorerResults
    evaluated: EvaluatedScores | None
    """None if the scores can't be read."""
    missing: str = ""
    """Why they can't."""
    name: str = ""
    """Given by `named`, as it depends on the other entries."""

    @property
    def auc(self) -> float | None:
        """AUC as the run recorded it."""
        return self.results.metrics.get("auc")

    @property
    def is_own(self) -> bool:
        """Whether the scorer is the run's attack itself, not one of its further scorers."""
        return self.scorer == self.run.results.attack


def read_entries(runs: Sequence[FinishedRun]) -> list[Entry]:
    """Read all scorers of all runs: those of the attacks themselves, then further ones.

    A further scorer is left out where another entry has the same scores, such as stat in jobs of stat and nn.
    """
    entries = [entry for run in runs for entry in _read_run(run)]
    kept: list[Entry] = []
    seen = set()
    for entry in sorted(entries, key=lambda entry: not entry.is_own):
        evaluated = entry.evaluated
        scores = (entry.scorer, evaluated.samples, evaluated.scored.scores.tobytes()) if evaluated else None
        if entry.is_own or scores is None or scores not in seen:
            kept.append(entry)
        seen.add(scores)
    return kept


def named(entries: Sequence[Entry], repeated: Collection[str] = (), longest_value: int | None = None) -> list[Entry]:
    """Return the entries, each with a name that no other has.

    A name is the scorer, the attack, dataset and target where they differ, and the fewest settings that tell the
    entries apart. Where no recorded setting does, the end of the run's path follows.

    Args:
        entries: entries that are shown together.
        repeated: settings that names leave out.
        longest_value: characters of a setting's value, its middle is left out if it has more; None: any number.
    """
    words = [_components(entry, entries) for entry in entries]
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry, group in zip(entries, words, strict=True):
        groups.setdefault(group, []).append(entry)
    chosen = {
        group: _fewest_settings([entry.run.overrides for entry in alike], NOT_IN_NAMES.union(repeated))
        for group, alike in groups.items()
    }
    names = [
        " ".join([*group, *setting_words(entry.run.overrides, chosen[group], longest_value)])
        for entry, group in zip(entries, words, strict=True)
    ]
    paths: dict[str, list[str]] = {}
    for name, entry in zip(names, entries, strict=True):
        paths.setdefault(name, []).append(entry.run.shown)
    return [
        replace(entry, name=name if len(paths[name]) == 1 else f"{name} ({_end(entry.run.shown, paths[name])})")
        for name, entry in zip(names, entries, strict=True)
    ]


def names_by_run(entries: Sequence[Entry]) -> dict[FinishedRun, str]:
    """Return each run under the name of its own attack's entry."""
    names: dict[FinishedRun, str] = {}
    for entry in entries:
        if entry.is_own or entry.run not in names:
            names[entry.run] = entry.name
    return names


def setting_words(
    overrides: Mapping[str, str], settings: Sequence[str], longest_value: int | None = None
) -> Iterator[str]:
    """Yield NAME=VALUE of those settings that are overridden; NAME is the last part, unless two share it.

    >>> list(setting_words({"attack.k": "1", "target.k": "2", "seed": "0"}, ["attack.k", "target.k", "seed", "tags"]))
    ['attack.k=1', 'target.k=2', 'seed=0']
    """
    last_parts = Counter(name.rpartition(".")[2] for name in settings)
    for name in settings:
        if (value := overrides.get(name)) is not None:
            last = name.rpartition(".")[2]
            shown = value if longest_value is None else shortened(value, longest_value)
            yield f"{last if last_parts[last] == 1 else name}={shown}"


def _read_run(run: FinishedRun) -> Iterator[Entry]:
    if not run.results.scorers:
        yield Entry(run, None, run.results, None, "no attack was made")
        return
    table, unreadable = None, ""
    try:
        with open_parquet(run.folder / "scores.parquet") as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        unreadable = f"scores.parquet can't be read ({reason_without_path(error)[:120]})"
    for scorer, results in run.results.scorers.items():
        evaluated, missing = None, unreadable
        if table is not None:
            try:
                evaluated = _evaluated_scores(table, scorer, run)
            except KeyError as error:
                missing = f"scores.parquet has no column {first_line(error)}"
            except (UserError, ValueError, TypeError, pa.ArrowException) as error:
                missing = f"the scores can't be used ({first_line(error)[:120]})"
        yield Entry(run, scorer, results, evaluated, missing)


def _evaluated_scores(table: pa.Table, scorer: str, run: FinishedRun) -> EvaluatedScores:
    judged = np.asarray(table["part"].to_pylist()) == str(Part.EVALUATION)
    is_member = np.asarray(table["is_member"].to_pylist(), dtype=bool)[judged]
    scores = table[f"score_{scorer}"].to_numpy()[judged].astype(np.float64)
    t_errors = table["t_error"].to_numpy()[judged].astype(np.float64) if "t_error" in table.column_names else None
    is_negative_t_error = t_errors is not None and np.array_equal(scores, -t_errors)
    ids = tuple(map(str, np.asarray(table["id"].to_pylist())[judged]))
    samples = samples_digest(run.results.dataset, ids, is_member)
    roc = Roc.from_scores(scores, is_member)
    known = ids if run.config.get("dataset._target_", "").endswith(".ScoredImages") else ()
    return EvaluatedScores(Scored(scores, is_member), roc, t_errors if is_negative_t_error else None, samples, known)


def samples_digest(dataset: str, ids: Sequence[str], is_member: Bools) -> str:
    """Return the digest of a dataset's name, ids [n] and membership [n]."""
    return hashlib.sha256(b"\n".join([dataset.encode(), "\n".join(ids).encode(), is_member.tobytes()])).hexdigest()


def _components(entry: Entry, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the scorer, and the attack, dataset and target where others differ in them."""
    own = entry.run.results
    words = [entry.scorer or "target only"]
    alike = [other.run.results for other in entries if other.scorer == entry.scorer]
    if not entry.is_own and len({other.attack for other in alike}) > 1:
        words.append(f"by {own.attack}")
    if len({other.run.results.dataset for other in entries}) > 1:
        words.append(own.dataset)
    if len({other.target for other in alike if other.dataset == own.dataset}) > 1:
        words.append(own.target)
    return tuple(words)


def _fewest_settings(overrides: Sequence[Mapping[str, str]], left_out: Collection[str]) -> list[str]:
    """Choose settings, the one with most values first, as long as each tells more runs apart."""
    names = dict.fromkeys(name for each in overrides for name in each if name not in left_out)
    values = {name: [each.get(name) for each in overrides] for name in names}
    chosen: list[str] = []
    distinct = 1
    for name in sorted(values, key=lambda name: -len(set(values[name]))):
        now = len(set(zip(*(values[each] for each in [*chosen, name]), strict=True)))
        if now > distinct:
            chosen.append(name)
            distinct = now
    return chosen


def _end(path: str, paths: Sequence[str]) -> str:
    """Return as many last parts of a path as no other path ends with."""
    parts = path.split("/")
    ends = ("/".join(parts[-count:]) for count in range(1, len(parts) + 1))
    return next(end for end in ends if sum(f"/{other}".endswith(f"/{end}") for other in paths) == 1 or end == path)
