"""How the contenders of a sweep stand: by the same samples where they share them, and over their runs otherwise.

On the same samples: DeLong's paired test, Holm's correction over all pairs, intervals by shared resamples. Over runs
that differ in seed or split: mean, deviation and Student's interval of the mean; for differences, of runs in common.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from secmi_exp.errors import UserError
from secmi_exp.evaluation.comparison import Comparison, compare
from secmi_exp.evaluation.repeated_runs import RepeatedRuns, repeated_runs
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Floats
from secmi_exp.reporting.contests import Contender, Contest, Scoring
from secmi_exp.reporting.jobs import UNRESOLVED, Estimate, estimate

MOST_PAIRED = 60
"""Contenders of one comparison: pairs are tested one by one, and Holm's correction leaves little of more of them."""

ROUNDS = 1000
"""Bootstrap resamples, where the jobs' configuration names none."""


@dataclass(frozen=True)
class Standing:
    """One contender's place."""

    contender: Contender
    metrics: Mapping[str, Estimate]
    """With several runs: mean, and interval of the mean."""
    auc_deviation: float | None
    """Between runs; None for one run."""
    behind: Estimate
    """AUC less that of the best, ≤ 0; the best has none, nor has who shares no samples with it."""
    p_value: float | None = None
    """Of equal AUC with the best; None over runs."""
    p_holm: float | None = None

    @property
    def label(self) -> str:
        """The contender's."""
        return self.contender.label

    @property
    def auc(self) -> Estimate:
        """Never unresolved."""
        return self.metrics["auc"]

    @property
    def queries_per_sample(self) -> float:
        """Mean over runs."""
        return fmean(float(run.job.results.get("queries_per_sample") or 0) for run in self.contender.runs.values())

    @property
    def seconds(self) -> float:
        """Of measuring and scoring; mean over runs."""
        return fmean(run.job.attack_seconds for run in self.contender.runs.values())

    def row(self) -> dict[str, Any]:
        """Of comparison.csv; None where something is not resolved."""
        runs = list(self.contender.runs.values())
        metrics = {name: value for metric, each in self.metrics.items() for name, value in each.columns(metric).items()}
        reasons = dict.fromkeys(reason for run in runs for reason in run.found.get("unresolved", {}).values())
        queries = self.queries_per_sample
        return {
            "attack": self.label,
            "job": " ".join(run.job.name for run in runs),
            "scorer": runs[0].scorer,
            "target": " ".join(dict.fromkeys(_target(run) for run in runs)),
            "runs": len(runs),
            **metrics,
            "auc_deviation": self.auc_deviation,
            "queries_per_sample": int(queries) if queries == int(queries) else queries,
            "queries_spent": sum(run.job.queries_spent for run in runs),
            "seconds": round(self.seconds, 3),
            **self.behind.columns("auc_difference"),
            "p_value": self.p_value,
            "p_holm": self.p_holm,
            "not_resolved": "; ".join(reasons),
        }


@dataclass(frozen=True)
class Ranking:
    """A contest that is decided."""

    contest: Contest
    standings: list[Standing]
    """By AUC, the best first."""
    pairs: list[dict[str, Any]]
    """Rows of comparison_pairs.csv."""

    def rows(self) -> list[dict[str, Any]]:
        """Of comparison.csv."""
        return [self._titled(standing.row()) for standing in self.standings]

    def pair_rows(self) -> list[dict[str, Any]]:
        """Of comparison_pairs.csv."""
        return [self._titled(row) for row in self.pairs]

    def _titled(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"contest": self.contest.title, **row} if self.contest.title else row


def rank(contest: Contest) -> Ranking:
    """Compare the contenders of a contest.

    Raises:
        UserError: for more contenders than can be compared pair by pair.
    """
    return _rank_over_runs(contest) if contest.repeated else _rank_paired(contest)


def _rank_paired(contest: Contest) -> Ranking:
    """On the same samples, the contenders with one run each."""
    if len(contest.contenders) > MOST_PAIRED:
        raise UserError(
            f"{len(contest.contenders)} attacks on the same samples are not compared, since each pair takes a test and "
            f"weakens the others: sweep over at most {MOST_PAIRED}."
        )
    scorings = contest.scorings
    order = sorted(range(len(scorings)), key=lambda place: -scorings[place].auc)
    contenders, scorings = [contest.contenders[place] for place in order], [scorings[place] for place in order]
    compared = compare(
        {each.label: scoring.evaluated.scores for each, scoring in zip(contenders, scorings, strict=True)},
        scorings[0].evaluated.is_member,
        rounds=_rounds(scorings[0]),
        seed=int(scorings[0].job.results.get("seed", 0)),
    )
    standings = []
    for place, (contender, scoring) in enumerate(zip(contenders, scorings, strict=True)):
        metrics = {name: estimate(dict(scoring.found), name) for name in scoring.found["metrics"]}
        if place == 0:
            standings.append(Standing(contender, metrics, None, UNRESOLVED))
            continue
        p_values = float(compared.p_values[place, 0]), float(compared.p_adjusted[place, 0])
        standings.append(Standing(contender, metrics, None, _difference(compared, "auc", place, 0), *p_values))
    pairs = [
        {
            "first": compared.names[first],
            "second": compared.names[second],
            **{
                name: value
                for metric in compared.values
                for name, value in _difference(compared, metric, first, second).columns(f"{metric}_difference").items()
            },
            "p_value": float(compared.p_values[first, second]),
            "p_holm": float(compared.p_adjusted[first, second]),
        }
        for first, second in combinations(range(len(scorings)), 2)
    ]
    return Ranking(contest, standings, pairs)


def _rank_over_runs(contest: Contest) -> Ranking:
    means = {each.label: repeated_runs([run.auc for run in each.runs.values()]) for each in contest.contenders}
    contenders = sorted(contest.contenders, key=lambda each: -means[each.label].mean)
    standings = []
    for contender in contenders:
        behind = None if contender is contenders[0] else _over_common_runs(contender, contenders[0])
        spread = means[contender.label].deviation
        standings.append(Standing(contender, _mean_metrics(contender), spread, _estimate(behind)))
    pairs = []
    for first, second in combinations(contenders, 2):
        if common := _over_common_runs(first, second):
            names = {"first": first.label, "second": second.label, "runs": common.runs}
            pairs.append({**names, **_estimate(common).columns("auc_difference"), "auc_deviation": common.deviation})
    return Ranking(contest, standings, pairs)


def mean_roc(contender: Contender, floor: float) -> tuple[Floats, Floats]:
    """False- and true-positive rates: the exact ROC of one run, or of several the mean TPR at each FPR from a floor."""
    rocs = [Roc.of(run.evaluated.scores, run.evaluated.is_member) for run in contender.runs.values()]
    if len(rocs) == 1:
        return rocs[0].fpr, rocs[0].tpr
    fpr = np.geomspace(floor, 1.0, 500)
    tprs = [roc.tpr[np.searchsorted(roc.fpr, fpr * (1.0 + 1e-9), side="right") - 1] for roc in rocs]
    return fpr, np.mean(tprs, axis=0)


def _mean_metrics(contender: Contender) -> dict[str, Estimate]:
    """Of those metrics that all runs have resolved; of a single run, its own."""
    runs = list(contender.runs.values())
    if len(runs) == 1:
        return {name: estimate(dict(runs[0].found), name) for name in runs[0].found["metrics"]}
    metrics = {}
    for name in runs[0].found["metrics"]:
        values = [run.found["metrics"].get(name) for run in runs]
        metrics[name] = UNRESOLVED if None in values else _estimate(repeated_runs(values))
    return metrics


def _over_common_runs(first: Contender, second: Contender) -> RepeatedRuns | None:
    """The first's AUC less the second's, in runs of the same seed, split and samples."""
    common = [
        run.auc - other.auc
        for drawn, run in first.runs.items()
        if (other := second.runs.get(drawn)) and other.samples == run.samples
    ]
    return repeated_runs(common) if common else None


def _estimate(runs: RepeatedRuns | None) -> Estimate:
    return Estimate(runs.mean, *(runs.ci95 or (None, None))) if runs else UNRESOLVED


def _difference(compared: Comparison, metric: str, first: int, second: int) -> Estimate:
    low, high = compared.ci95[metric][first, second]
    return Estimate(float(compared.differences[metric][first, second]), float(low), float(high))


def _target(scoring: Scoring) -> str:
    """Name and folder of the attacked weights; stored targets' folders are named by what decides them."""
    folder = str(scoring.job.results.get("target_folder") or "")
    return f"{scoring.job.results.get('target')}:{folder.rstrip('/').rpartition('/')[2]}"


def _rounds(scoring: Scoring) -> int:
    path = scoring.job.folder / "config.yaml"
    config = OmegaConf.load(path) if path.is_file() else OmegaConf.create()
    return int(OmegaConf.select(config, "evaluation.bootstrap_rounds", default=ROUNDS))
