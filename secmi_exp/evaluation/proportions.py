"""Exact intervals of proportions: k successes of n independent trials (Clopper and Pearson 1934, Biometrika 26).

Their coverage is at least the confidence named, for every n and every true proportion.
"""

import numpy as np
from numpy.typing import ArrayLike

from secmi_exp.errors import UserError
from secmi_exp.evaluation.distributions import beta_quantile
from secmi_exp.evaluation.scored import Floats, Interval


def lower_bound(successes: ArrayLike, trials: ArrayLike, *, confidence: float) -> Floats:
    """One-sided lower bounds on the proportions: the α-quantile of Beta(k, n − k + 1), 0 at k = 0.

    Args:
        successes: k, broadcast with trials.
        trials: n.
        confidence: 1 − α, in (0, 1).

    Raises:
        UserError: where k is not in 0 … n, n is 0, or the confidence is out of range.

    >>> float(lower_bound(20, 20, confidence=0.95).round(4))  # α^(1/n)
    0.8609
    """
    k, n = _checked(successes, trials, confidence)
    quantile = beta_quantile(1.0 - confidence, np.where(k == 0, 1.0, k), n - k + 1)
    return np.where(k == 0, 0.0, quantile)


def upper_bound(successes: ArrayLike, trials: ArrayLike, *, confidence: float) -> Floats:
    """One-sided upper bounds on the proportions: the mirror image of ``lower_bound``.

    >>> float(upper_bound(0, 300, confidence=0.95).round(4))  # the rule of three: about 3/n
    0.0099
    """
    k, n = _checked(successes, trials, confidence)
    return 1.0 - lower_bound(n - k, n, confidence=confidence)


def clopper_pearson(successes: float, trials: int, *, confidence: float = 0.95) -> Interval:
    """The two-sided interval: each end misses with probability at most (1 − confidence)/2.

    A fraction of a success, as a mean rate gives, is taken as it is.

    >>> low, high = clopper_pearson(10, 100)
    >>> round(low, 4), round(high, 4)
    (0.049, 0.1762)
    """
    one_sided = (1.0 + confidence) / 2.0
    low = lower_bound(successes, trials, confidence=one_sided)
    return float(low), float(upper_bound(successes, trials, confidence=one_sided))


def interval_of_mean(first: tuple[int, int], second: tuple[int, int], *, confidence: float = 0.95) -> Interval:
    """Interval of the mean of two independent proportions, such as a balanced accuracy.

    With equal sizes it is the Clopper–Pearson interval of both together: trials of two rates are at most as dispersed
    as trials of their mean rate (Hoeffding 1956, Annals of Mathematical Statistics 27). With unequal sizes it is that
    of twice the smaller one at the mean rate: a bound on the variance all the same, wide where the sizes differ much.

    Args:
        first: successes, trials.
        second: successes, trials.
        confidence: in (0, 1).

    Raises:
        UserError: for impossible counts or a confidence out of range.

    >>> low, high = interval_of_mean((45, 50), (40, 50))
    >>> round(low, 3), round(high, 3)  # 85 of 100
    (0.765, 0.914)
    """
    for successes, trials in (first, second):
        _checked(successes, trials, confidence)
    trials = 2 * min(first[1], second[1])
    rates = first[0] / first[1] + second[0] / second[1]
    return clopper_pearson(min(trials * rates / 2.0, trials), trials, confidence=confidence)


def _checked(successes: ArrayLike, trials: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if not ((k >= 0) & (k <= n) & (n >= 1)).all():
        raise UserError(f"A proportion needs 0 ≤ successes ≤ trials and at least one trial, not {k} of {n}.")
    if not 0.0 < confidence < 1.0:
        raise UserError(f"A confidence lies between 0 and 1, not {confidence:g}.")
    return k, n
