"""95% bootstrap intervals of all metrics at once: each side resampled with replacement, vectorised over rounds.

Resampling n scores is drawing how often each occurs, so the scores are sorted once, and a round is a cumulative sum of
counts along that order. Several score sets over the same samples share their resamples, so that differences between
them can be read round by round.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secmi_exp.evaluation.roc import allowed_holdouts
from secmi_exp.evaluation.scored import Bools, Floats, Interval

ROUNDS_AT_ONCE_ELEMENTS = 2_000_000
"""Elements of one array of counts; bounds the memory."""


def bootstrap(
    scores: Floats,
    is_member: Bools,
    *,
    max_fprs: Mapping[str, float],
    threshold: float | None,
    rounds: int,
    seed: int,
    log_pauc_from: float | None = None,
) -> dict[str, Interval]:
    """Percentile intervals, stratified by membership.

    Args:
        scores: [n].
        is_member: [n], both sides present.
        max_fprs: name → false-positive rate at which the true-positive rate is read.
        threshold: of ``accuracy_calibrated``, held fixed; none without it.
        rounds: resamples.
        seed: of the resampling.
        log_pauc_from: false-positive rate at which the log-scale area starts; none without it.

    Returns:
        Metric → (2.5th, 97.5th percentile), for auc, asr, the names in ``max_fprs``, and accuracy_calibrated and
        log_pauc where they are asked for.
    """
    resampled = resampled_metrics(
        [scores],
        is_member,
        max_fprs=max_fprs,
        thresholds=None if threshold is None else [threshold],
        rounds=rounds,
        seed=seed,
        log_pauc_from=log_pauc_from,
    )
    return {name: percentile_interval(values[:, 0]) for name, values in resampled.items()}


def resampled_metrics(
    score_sets: Sequence[Floats],
    is_member: Bools,
    *,
    max_fprs: Mapping[str, float],
    rounds: int,
    seed: int,
    thresholds: Sequence[float] | None = None,
    log_pauc_from: float | None = None,
) -> dict[str, Floats]:
    """Metrics of k score sets in each round, all on the same resamples.

    Args:
        score_sets: [k, n].
        is_member: [n], both sides present.
        max_fprs: name → false-positive rate at which the true-positive rate is read.
        rounds: resamples.
        seed: of the resampling.
        thresholds: [k], of ``accuracy_calibrated``; none without them.
        log_pauc_from: false-positive rate at which the log-scale area starts; none without it.

    Returns:
        Metric → [rounds, k].
    """
    rng = np.random.default_rng(seed)
    ordered = [_Ordered.from_scores(scores, is_member) for scores in score_sets]
    n_member, n_holdout = len(ordered[0].members), len(ordered[0].holdouts)
    chunk = max(1, ROUNDS_AT_ONCE_ELEMENTS // len(is_member))
    collected: dict[str, list[Floats]] = {}
    for first in range(0, rounds, chunk):
        size = min(chunk, rounds - first)
        members = rng.integers(n_member, size=(size, n_member), dtype=np.int32)
        holdouts = rng.integers(n_holdout, size=(size, n_holdout), dtype=np.int32)
        values: dict[str, list[Floats]] = {}
        for index, each in enumerate(ordered):
            tpr, fpr = _rates(each.members[members], each.groups), _rates(each.holdouts[holdouts], each.groups)
            for name, value in _metrics(tpr, fpr, n_holdout, max_fprs, log_pauc_from).items():
                values.setdefault(name, []).append(value)
            if thresholds is not None:
                called = each.called(thresholds[index])
                accuracy = (tpr[:, called] + 1.0 - fpr[:, called]) / 2.0
                values.setdefault("accuracy_calibrated", []).append(accuracy)
        for name, columns in values.items():
            collected.setdefault(name, []).append(np.stack(columns, axis=1))
    return {name: np.concatenate(chunks) for name, chunks in collected.items()}


def percentile_interval(values: Floats) -> Interval:
    """2.5th and 97.5th percentile of values [rounds]."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class _Ordered:
    """Samples of one score set as positions in the order of its distinct scores; 0 is the highest."""

    distinct: Floats
    """[groups], the negative of each distinct score, ascending."""
    members: NDArray[np.int64]
    """[m]."""
    holdouts: NDArray[np.int64]
    """[h]."""

    @classmethod
    def from_scores(cls, scores: Floats, is_member: Bools) -> "_Ordered":
        distinct, group = np.unique(-scores, return_inverse=True)
        return cls(distinct, group[is_member], group[~is_member])

    @property
    def groups(self) -> int:
        return len(self.distinct)

    def called(self, threshold: float) -> int:
        """Groups with score ≥ threshold."""
        return int(np.searchsorted(self.distinct, -threshold, side="right"))


def _metrics(
    tpr: Floats, fpr: Floats, n_holdout: int, max_fprs: Mapping[str, float], log_pauc_from: float | None
) -> dict[str, Floats]:
    """Metrics that need no fixed threshold, [rounds] each, from rates [rounds, groups + 1]; see ``roc.Roc``."""
    values = {"auc": np.trapezoid(tpr, fpr, axis=1), "asr": (tpr + 1.0 - fpr).max(axis=1) / 2.0}
    for name, max_fpr in max_fprs.items():
        within = fpr * n_holdout < allowed_holdouts(max_fpr, n_holdout) + 0.5
        values[name] = np.where(within, tpr, 0.0).max(axis=1)
    if log_pauc_from is not None:
        decades = np.maximum(fpr[:, 1:], log_pauc_from)
        np.log(decades, out=decades)
        values["log_pauc"] = np.einsum("rg,rg->r", np.diff(tpr, axis=1), decades) / math.log(log_pauc_from)
    return values


def _rates(drawn: NDArray[np.int64], groups: int) -> Floats:
    """Share of a resampled side at or above each score, [rounds, groups + 1], from none to all.

    Args:
        drawn: the group of each drawn sample of this side, [rounds, n]; overwritten.
        groups: number of distinct scores.
    """
    rounds, n = drawn.shape
    drawn += np.arange(rounds, dtype=drawn.dtype)[:, None] * groups
    counts = np.bincount(drawn.ravel(), minlength=rounds * groups).reshape(rounds, groups)
    rates = np.zeros((rounds, groups + 1))
    np.cumsum(counts, axis=1, out=rates[:, 1:])
    rates /= n
    return rates
