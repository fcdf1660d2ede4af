"""Rank the contenders of a contest by AUC, and compare them.

On the same samples: DeLong's paired test, Holm's correction over all pairs, intervals by shared resamples. Over runs
that differ in seed or split: mean, deviation and Student's interval of the mean; differences by the runs in common.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.comparison import Comparison, compare
from secmi_exp.evaluation.repeated_runs import RepeatedRuns, repeated_runs
from secmi_exp.evaluation.scored import Floats
from secmi_exp.reporting.contests import Contender, Contest, Scoring
from secmi_exp.reporting.results_file import UNRESOLVED, Estimate

MOST_PAIRED = 60
"""Contenders of a contest on the same samples at most: every pair is tested, and Holm's correction grows with them."""
ROUNDS = 1000
"""Bootstrap resamples if the runs' configuration has no number."""


@dataclass(frozen=True)
class Standing:
    """A contender's place."""

    contender: Contender
    metrics: Mapping[str, Estimate]
    """Over several runs: the mean and its interval."""
    auc_deviation: float | None = None
    """Standard deviation over runs; None for one run."""
    difference: Estimate = UNRESOLVED
    """AUC minus the best one's, ≤ 0; unresolved for the best, and for one that shares no samples with it."""
    p_value: float | None = None
    """Test of the same AUC as the best; None over runs."""
    p_holm: float | None = None

    @property
    def name(self) -> str:
        """The contender's name."""
        return self.contender.name

    @property
    def auc(self) -> Estimate:
        """AUC, which is always resolved."""
        return self.metrics["auc"]

    @property
    def queries_per_sample(self) -> float:
        """Mean over runs."""
        return fmean(scoring.run.results.queries_per_sample or 0 for scoring in self.contender.scorings)

    @property
    def seconds(self) -> float:
        """Wall time of measuring and scoring; mean over runs."""
        return fmean(scoring.run.results.attack_seconds for scoring in self.contender.scorings)

    def row(self) -> dict[str, Any]:
        """Return the row of comparison.csv; None for what is not resolved."""
        scorings, queries = self.contender.scorings, self.queries_per_sample
        metrics = {name: value for metric, each in self.metrics.items() for name, value in each.columns(metric).items()}
        reasons = dict.fromkeys(reason for each in scorings for reason in each.entry.results.unresolved.values())
        return {
            "attack": self.name,
            "job": " ".join(each.run.shown for each in scorings),
            "scorer": scorings[0].entry.scorer,
            "target": " ".join(dict.fromkeys(map(_target, scorings))),
            "runs": len(scorings),
            **metrics,
            "auc_deviation": self.auc_deviation,
            "queries_per_sample": int(queries) if queries == int(queries) else queries,
            "queries_spent": sum(each.run.results.queries_spent for each in scorings),
            "seconds": round(self.seconds, 3),
            **self.difference.columns("auc_difference"),
            "p_value": self.p_value,
            "p_holm": self.p_holm,
            "not_resolved": "; ".join(reasons),
        }


@dataclass(frozen=True)
class Ranking:
    """A contest with its outcome."""

    contest: Contest
    standings: list[Standing]
    """Standings of the contenders by AUC, the best first."""
    pairs: list[dict[str, Any]]
    """Rows of comparison_pairs.csv, without the contest."""

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of comparison.csv."""
        return [self._with_title(standing.row()) for standing in self.standings]

    def pair_rows(self) -> list[dict[str, Any]]:
        """Return the rows of comparison_pairs.csv."""
        return [self._with_title(row) for row in self.pairs]

    def _with_title(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"contest": self.contest.title, **row} if self.contest.title else row


def rank(contest: Contest) -> Ranking:
    """Rank the contenders of a contest.

    Raises:
        UserError: for more contenders than can be compared pair by pair.
    """
    return _rank_over_runs(contest) if contest.repeated else _rank_paired(contest)


def _rank_paired(contest: Contest) -> Ranking:
    """Rank contenders that have one run each, on the same samples."""
    if len(contest.contenders) > MOST_PAIRED:
        raise UserError(
            f"{len(contest.contenders)} attacks on the same samples are not compared, since each pair takes a test and "
            f"weakens the others: sweep over at most {MOST_PAIRED}."
        )
    contenders = sorted(contest.contenders, key=lambda each: -each.scorings[0].auc)
    first = contenders[0].scorings[0]
    compared = compare(
        {each.name: each.scorings[0].evaluated.scored.scores for each in contenders},
        first.evaluated.scored.is_member,
        rounds=int(first.run.config.get("evaluation.bootstrap_rounds", ROUNDS)),
        seed=first.run.results.seed or 0,
    )
    standings = [Standing(contenders[0], first.entry.results.estimates())]
    for place, contender in enumerate(contenders[1:], 1):
        metrics, difference = contender.scorings[0].entry.results.estimates(), _difference(compared, "auc", place, 0)
        p_values = float(compared.p_values[place, 0]), float(compared.p_adjusted[place, 0])
        standings.append(Standing(contender, metrics, None, difference, *p_values))
    pairs = []
    for one, other in combinations(range(len(contenders)), 2):
        pair: dict[str, Any] = {"first": compared.names[one], "second": compared.names[other]}
        for metric in compared.values:
            pair |= _difference(compared, metric, one, other).columns(f"{metric}_difference")
        p_value, p_holm = float(compared.p_values[one, other]), float(compared.p_adjusted[one, other])
        pairs.append({**pair, "p_value": p_value, "p_holm": p_holm})
    return Ranking(contest, standings, pairs)


def _rank_over_runs(contest: Contest) -> Ranking:
    over_runs = {each.name: repeated_runs([scoring.auc for scoring in each.scorings]) for each in contest.contenders}
    contenders = sorted(contest.contenders, key=lambda each: -over_runs[each.name].mean)
    standings = []
    for contender in contenders:
        difference = None if contender is contenders[0] else _difference_over_runs(contender, contenders[0])
        deviation = over_runs[contender.name].deviation
        standings.append(Standing(contender, _metrics_over_runs(contender), deviation, _mean(difference)))
    pairs = []
    for one, other in combinations(contenders, 2):
        if common := _difference_over_runs(one, other):
            names = {"first": one.name, "second": other.name, "runs": common.runs}
            pairs.append({**names, **_mean(common).columns("auc_difference"), "auc_deviation": common.deviation})
    return Ranking(contest, standings, pairs)


def mean_roc(contender: Contender, floor: float) -> tuple[Floats, Floats]:
    """Return false- and true-positive rates: of one run its exact ROC, of several the mean TPR at FPRs from a floor."""
    rocs = [scoring.evaluated.roc for scoring in contender.scorings]
    if len(rocs) == 1:
        return rocs[0].fpr, rocs[0].tpr
    fpr = np.geomspace(floor, 1.0, 500)
    tprs = [roc.tpr[np.searchsorted(roc.fpr, fpr * (1.0 + 1e-9), side="right") - 1] for roc in rocs]
    return fpr, np.mean(tprs, axis=0)


def _metrics_over_runs(contender: Contender) -> dict[str, Estimate]:
    """Return means of those metrics that all runs have resolved; of a single run, its own intervals."""
    results = [scoring.entry.results for scoring in contender.scorings]
    if len(results) == 1:
        return results[0].estimates()
    metrics = {}
    for name in results[0].metrics:
        values = [value for each in results if (value := each.metrics.get(name)) is not None]
        metrics[name] = _mean(repeated_runs(values)) if len(values) == len(results) else UNRESOLVED
    return metrics


def _difference_over_runs(first: Contender, second: Contender) -> RepeatedRuns | None:
    """Return the first's AUC minus the second's, over runs with the same seed, split and samples."""
    common = [
        scoring.auc - other.auc
        for values, scoring in first.repeats.items()
        if (other := second.repeats.get(values)) and other.evaluated.samples == scoring.evaluated.samples
    ]
    return repeated_runs(common) if common else None


def _mean(runs: RepeatedRuns | None) -> Estimate:
    return Estimate(runs.mean, *(runs.ci95 or ())) if runs else UNRESOLVED


def _difference(compared: Comparison, metric: str, first: int, second: int) -> Estimate:
    low, high = compared.ci95[metric][first, second]
    return Estimate(float(compared.differences[metric][first, second]), float(low), float(high))


def _target(scoring: Scoring) -> str:
    """Return the target's name and the last part of its folder, which for stored targets is a key."""
    results = scoring.run.results
    return f"{results.target}:{results.target_folder.rstrip('/').rpartition('/')[2]}"
