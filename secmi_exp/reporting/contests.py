"""Which entries of a sweep can be compared: scorers that scored the same samples, over several runs or one each."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from secmi_exp.reporting.entries import Entry, EvaluatedScores, named, setting_words
from secmi_exp.reporting.run_folders import FinishedRun, swept_settings

SPLIT_SETTINGS = ("split", "split.path", "split.members", "split.holdouts")
"""Settings that choose another split of the same data, if their values are files or rules rather than sizes."""

Values = tuple[str | None, ...]


@dataclass(frozen=True)
class Scoring:
    """An entry that can be compared, as it has scores and an AUC."""

    entry: Entry
    evaluated: EvaluatedScores
    auc: float
    """AUC that the run recorded."""

    @property
    def run(self) -> FinishedRun:
        """The run of the entry."""
        return self.entry.run


Repeats = Mapping[Values, Scoring]
"""Values of the repeated settings → the scoring."""


@dataclass(frozen=True)
class Contender:
    """An attack with its settings, and its scorings: several if seeds or splits were swept."""

    name: str
    repeats: Repeats

    @property
    def scorings(self) -> list[Scoring]:
        """Its scorings."""
        return list(self.repeats.values())


@dataclass(frozen=True)
class Contest:
    """Contenders that scored the same samples, at least in some of their runs."""

    title: str
    """Settings that tell this contest from the sweep's others; empty for the only one."""
    contenders: list[Contender]
    """Two or more, or one with several runs; no two have the same name."""

    @property
    def repeated(self) -> bool:
        """Whether there are several runs to average over; otherwise all have scored the very same samples."""
        return any(len(contender.repeats) > 1 for contender in self.contenders)

    @property
    def scorings(self) -> list[Scoring]:
        """The scorings of all contenders."""
        return [scoring for contender in self.contenders for scoring in contender.scorings]

    @property
    def n_targets(self) -> int:
        """Number of different target weights, by their folders; target-free attacks have none."""
        return len({folder for scoring in self.scorings if (folder := scoring.run.results.target_folder)})


def find_contests(entries: Sequence[Entry]) -> list[Contest]:
    """Group the entries of a sweep into contests; entries without scores, or alone with their samples, are left out."""
    scorings = [
        Scoring(entry, entry.evaluated, entry.auc) for entry in entries if entry.evaluated and entry.auc is not None
    ]
    overrides = list({scoring.run.folder: scoring.run.overrides for scoring in scorings}.values())
    swept = swept_settings(overrides)
    repeated = [name for name in swept if _repeats_experiment(name, overrides)]
    settings = [name for name in swept if name not in repeated]
    contenders: dict[Hashable, dict[Values, Scoring]] = {}
    for scoring in scorings:
        repeats = contenders.setdefault((scoring.entry.scorer, _values(scoring, settings)), {})
        repeats[_values(scoring, repeated)] = scoring
    groups = _group_by_samples(list(contenders.values()))
    groups = [group for group in groups if len(group) > 1 or len(group[0]) > 1]
    contests = []
    for title, group in zip(_titles(groups, settings), groups, strict=True):
        names = [entry.name for entry in named([_first(repeats).entry for repeats in group], repeated)]
        contests.append(Contest(title, [Contender(*each) for each in zip(names, group, strict=True)]))
    return contests


def _values(scoring: Scoring, settings: Sequence[str]) -> Values:
    return tuple(scoring.run.overrides.get(name) for name in settings)


def _first(repeats: Repeats) -> Scoring:
    return next(iter(repeats.values()))


def _repeats_experiment(name: str, overrides: Sequence[Mapping[str, str]]) -> bool:
    """Whether a setting only repeats the experiment on another draw: a seed, or a split that isn't another size."""
    if name.rpartition(".")[2].endswith("seed"):
        return True
    values = {each.get(name) for each in overrides}
    return name in SPLIT_SETTINGS and not any(value is None or value.isdigit() or value == "null" for value in values)


def _group_by_samples(contenders: Sequence[Repeats]) -> list[list[Repeats]]:
    """Group contenders that are connected by samples that they have both scored, in their order."""
    groups: list[tuple[set[str], list[Repeats]]] = []
    for repeats in contenders:
        samples, group = {scoring.evaluated.samples for scoring in repeats.values()}, [repeats]
        joined = [other for other in groups if other[0] & samples]
        samples = samples.union(*(other[0] for other in joined))
        group = [each for other in joined for each in other[1]] + group
        groups = [other for other in groups if other not in joined] + [(samples, group)]
    return [group for _, group in groups]


def _titles(groups: Sequence[Sequence[Repeats]], settings: Sequence[str]) -> list[str]:
    """Return, for each group, the settings that have one value in it and not the same in all, or else a number."""
    if len(groups) == 1:
        return [""]
    overrides = [[_first(repeats).run.overrides for repeats in group] for group in groups]
    distinct = []
    for name in settings:
        values = [{each.get(name) for each in group} for group in overrides]
        if all(len(each) == 1 for each in values) and len(set().union(*values)) > 1:
            distinct.append(name)
    titles = [", ".join(setting_words(group[0], distinct)) for group in overrides]
    return [title or f"samples {number}" for number, title in enumerate(titles, 1)]
