"""AUCs with their covariance, intervals and paired tests.

DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44), from midranks in O(n log n) as Sun and Xu 2014 (IEEE Signal
Processing Letters 21). The AUC is P(member > hold-out) + P(tie)/2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from secmi_exp.evaluation.scored import Bools, Floats, Interval, sides

ROUNDING = 1e-12
"""Placements closer than that are equal: of n samples, others lie at least 1/(2n) apart."""


@dataclass(frozen=True)
class Aucs:
    """AUCs of k score sets over the same samples."""

    auc: Floats
    """[k]."""
    covariance: Floats
    """[k, k], of the AUCs; NaN where a side has one sample only."""


@dataclass(frozen=True)
class PairedTest:
    """Whether two score sets over the same samples differ in AUC."""

    difference: float
    """AUC of the first less that of the second."""
    interval: Interval
    """Normal, within [−1, 1]."""
    p_value: float
    """Two-sided."""


def midranks(values: Floats) -> Floats:
    """Ranks of values [n] from 1, where equals share the mean of theirs.

    >>> midranks(np.array([10.0, 30.0, 20.0, 20.0]))
    array([1. , 4. , 2.5, 2.5])
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (counts.cumsum() - (counts - 1) / 2.0)[group]
    return ranks


def placements(scores: Floats, is_member: Bools) -> tuple[Floats, Floats]:
    """DeLong's structural components V₁₀ and V₀₁; the mean of either is the AUC.

    Args:
        scores: [n].
        is_member: [n].

    Returns:
        For each member the share of hold-outs that it outscores, for each hold-out the share of members that outscore
        it; equals count half.

    Raises:
        UserError: for a score that is not finite, or where a side is empty.

    >>> placements(np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False]))
    (array([1.  , 0.25]), array([0.5 , 0.75]))
    """
    members, holdouts = sides(scores, is_member)
    ranks = midranks(scores)
    outscored = (ranks[is_member] - midranks(members)) / len(holdouts)
    outscoring = 1.0 - (ranks[~is_member] - midranks(holdouts)) / len(members)
    return outscored, outscoring


def delong(score_sets: Sequence[Floats] | Floats, is_member: Bools) -> Aucs:
    """AUCs of k score sets, and S₁₀/m + S₀₁/h, the covariance of the AUCs.

    Args:
        score_sets: [k, n], each over the same samples.
        is_member: [n], m members and h hold-outs.

    Raises:
        UserError: for a score that is not finite, or where a side is empty.
    """
    members, holdouts = (np.stack(side) for side in zip(*(placements(s, is_member) for s in score_sets), strict=True))
    covariance = _covariance(members) + _covariance(holdouts)
    return Aucs(members.mean(axis=1), covariance)


def auc_interval(scores: Floats, is_member: Bools, *, confidence: float = 0.95) -> Interval:
    """Interval of the AUC within [0, 1]: normal on the logit scale, with DeLong's variance.

    logit(A) ± z · √Var(A) / (A (1 − A)); Pepe 2003, "The statistical evaluation of medical tests", section 5.2.

    Where every member ranks alike and every hold-out ranks alike — all members above all hold-outs, all below, or all
    equal — the variance estimate is 0 and says nothing. min(m, h) pairs without a common sample have then all had the
    same outcome A ∈ {1, 0, ½}; by Clopper–Pearson this outcome has a probability of at least q = (α/2)^(1/min(m, h)),
    and the rest lies in [0, 1]: the interval is [qA, qA + 1 − q]. With a single sample on a side it is [0, 1], unless
    the scores separate the sides.

    Args:
        scores: [n].
        is_member: [n].
        confidence: in (0, 1).

    Raises:
        UserError: for a score that is not finite, or where a side is empty.

    >>> low, high = auc_interval(np.arange(40.0), np.arange(40) >= 20)
    >>> round(low, 4), high  # 0.025^(1/20)
    (0.8316, 1.0)
    """
    outscored, outscoring = placements(scores, is_member)
    auc, error, pairs = float(outscored.mean()), _standard_error(outscored, outscoring), _pairs(is_member)
    if _alike(outscored, outscoring):
        return _disjoint_pairs(auc, 0.0, pairs, confidence)
    if math.isnan(error):
        return 0.0, 1.0
    reach = NormalDist().inv_cdf((1.0 + confidence) / 2.0) * error / (auc * (1.0 - auc))
    logit = math.log(auc / (1.0 - auc))
    return _expit(logit - reach), _expit(logit + reach)


def paired_test(first: Floats, second: Floats, is_member: Bools, *, confidence: float = 0.95) -> PairedTest:
    """DeLong's test of equal AUCs over the same samples.

    Where the difference of the placements is the same for all members and for all hold-outs, its variance is estimated
    as 0. No difference is then p = 1; a difference d ≠ 0, such as a perfect attack against a useless one, is judged by
    min(m, h) pairs without a common sample that all show it: a sign test, p = 2^(1 − min(m, h)), and the interval by
    the argument of ``auc_interval``. With a single sample on a side that varies nothing is said: [−1, 1], p = 1.

    Args:
        first: [n].
        second: [n].
        is_member: [n].
        confidence: of the interval.

    Raises:
        UserError: for a score that is not finite, or where a side is empty.
    """
    of_members, of_holdouts = (
        one - other for one, other in zip(placements(first, is_member), placements(second, is_member), strict=True)
    )
    difference, error, pairs = float(of_members.mean()), _standard_error(of_members, of_holdouts), _pairs(is_member)
    if _alike(of_members, of_holdouts):
        interval = _disjoint_pairs(difference, -1.0, pairs, confidence)
        return PairedTest(difference, interval, 2.0 ** (1 - pairs) if abs(difference) > ROUNDING else 1.0)
    if math.isnan(error):
        return PairedTest(difference, (-1.0, 1.0), 1.0)
    reach = NormalDist().inv_cdf((1.0 + confidence) / 2.0) * error
    interval = max(-1.0, difference - reach), min(1.0, difference + reach)
    return PairedTest(difference, interval, math.erfc(abs(difference) / error / math.sqrt(2.0)))


def _covariance(components: Floats) -> Floats:
    """Covariance of the means of components [k, samples]; NaN for one sample."""
    k, samples = components.shape
    if samples == 1:
        return np.full((k, k), np.nan)
    covariance: Floats = np.atleast_2d(np.cov(components)) / samples
    return covariance


def _standard_error(of_members: Floats, of_holdouts: Floats) -> float:
    variance = _covariance(of_members[None]) + _covariance(of_holdouts[None])
    return math.sqrt(float(variance[0, 0]))


def _alike(of_members: Floats, of_holdouts: Floats) -> bool:
    return max(float(np.ptp(of_members)), float(np.ptp(of_holdouts))) < ROUNDING


def _pairs(is_member: Bools) -> int:
    n_member = int(np.count_nonzero(is_member))
    return min(n_member, len(is_member) - n_member)


def _disjoint_pairs(outcome: float, lowest: float, pairs: int, confidence: float) -> Interval:
    """Interval of a mean over pairs in [lowest, 1], where all pairs had one outcome."""
    likely = ((1.0 - confidence) / 2.0) ** (1.0 / pairs)
    return likely * outcome + (1.0 - likely) * lowest, likely * outcome + 1.0 - likely


def _expit(logit: float) -> float:
    return 0.5 * (1.0 + math.tanh(logit / 2.0))
