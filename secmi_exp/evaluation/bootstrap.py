"""95% bootstrap intervals of all metrics at once: each side resampled with replacement, vectorised over rounds.

Resampling n scores is drawing how often each occurs, so the scores are sorted once, and a round is a cumulative sum of
counts along that order.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS_AT_ONCE_ELEMENTS = 2_000_000
"""Elements of one array of counts; bounds the memory."""


def bootstrap(
    scores: Floats,
    is_member: NDArray[np.bool_],
    *,
    max_fprs: Mapping[str, float],
    threshold: float,
    rounds: int,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals, stratified by membership.

    Args:
        scores: [n].
        is_member: [n], both sides present.
        max_fprs: name → false-positive rate at which the true-positive rate is read.
        threshold: of ``accuracy_calibrated``, held fixed.
        rounds: resamples.
        seed: of the resampling.

    Returns:
        Metric → (2.5th, 97.5th percentile), for auc, asr, accuracy_calibrated and the names in ``max_fprs``.
    """
    rng = np.random.default_rng(seed)
    distinct, group = np.unique(-scores, return_inverse=True)  # group 0: the highest score
    groups = len(distinct)
    members, holdouts = group[is_member], group[~is_member]
    called = int(np.searchsorted(distinct, -threshold, side="right"))  # groups with score ≥ threshold
    chunk = max(1, ROUNDS_AT_ONCE_ELEMENTS // len(scores))
    collected: dict[str, list[Floats]] = {}
    for first in range(0, rounds, chunk):
        size = min(chunk, rounds - first)
        tpr = _resampled_rates(members, groups, size, rng)
        fpr = _resampled_rates(holdouts, groups, size, rng)
        values = {
            "auc": np.trapezoid(tpr, fpr, axis=1),
            "asr": (tpr + 1.0 - fpr).max(axis=1) / 2.0,
            "accuracy_calibrated": (tpr[:, called] + 1.0 - fpr[:, called]) / 2.0,
        }
        for name, max_fpr in max_fprs.items():
            allowed = math.floor(max_fpr * len(holdouts) + 1e-9) + 0.5
            values[name] = np.where(fpr * len(holdouts) < allowed, tpr, 0.0).max(axis=1)
        for name, value in values.items():
            collected.setdefault(name, []).append(value)
    intervals = {}
    for name, chunks in collected.items():
        low, high = np.percentile(np.concatenate(chunks), [2.5, 97.5])
        intervals[name] = (float(low), float(high))
    return intervals


def _resampled_rates(side: NDArray[np.int64], groups: int, rounds: int, rng: np.random.Generator) -> Floats:
    """Share of a resampled side at or above each score, [rounds, groups + 1], from none to all.

    Args:
        side: the group of each sample of this side, [n].
        groups: number of distinct scores.
        rounds: resamples.
        rng: source of randomness.
    """
    drawn = side[rng.integers(len(side), size=(rounds, len(side)), dtype=np.int32)]
    drawn += np.arange(rounds, dtype=drawn.dtype)[:, None] * groups
    counts = np.bincount(drawn.ravel(), minlength=rounds * groups).reshape(rounds, groups)
    rates = np.zeros((rounds, groups + 1))
    np.cumsum(counts, axis=1, out=rates[:, 1:])
    return rates / len(side)
