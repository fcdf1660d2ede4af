"""One-sided tests of two samples. They load scipy.special alone: scipy.stats has both, and takes longer than they do.

Sources: Mann and Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other"
(1947); Welch, "The Generalization of 'Student's' Problem when Several Different Population Variances are Involved"
(1947).
"""

import math

import numpy as np

from secmi_exp.evaluation.distributions import normal_tail, student_tail
from secmi_exp.evaluation.scored import Floats

MOST_EXACT = 8
"""Size of the smaller sample up to which, without ties, the distribution of U is computed exactly."""


def mann_whitney_greater(first: Floats, second: Floats) -> float:
    """P-value of "the first sample's distribution is no higher", exact for small samples without ties.

    Otherwise U is taken as normal, with corrections for ties and continuity.

    Args:
        first: [m], m ≥ 1.
        second: [n], n ≥ 1.

    >>> mann_whitney_greater(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1 / 6
    True
    """
    m, n = len(first), len(second)
    ordered = np.sort(second)
    below, up_to = (np.searchsorted(ordered, first, side=side) for side in ("left", "right"))
    u = float((below + up_to).sum()) / 2.0
    _, equal = np.unique(np.concatenate([first, second]), return_counts=True)
    if min(m, n) <= MOST_EXACT and equal.max() == 1:
        return _share_at_least(round(u), m, n)
    ties = float((equal.astype(np.float64) ** 3 - equal).sum())
    variance = m * n / 12.0 * (m + n + 1 - ties / ((m + n) * (m + n - 1)))
    return normal_tail((u - m * n / 2.0 - 0.5) / math.sqrt(variance)) if variance > 0.0 else 1.0


def _share_at_least(u: int, m: int, n: int) -> float:
    """P(U ≥ u) where all orders of m + n distinct values are equally likely.

    The number of orders with each U is a coefficient of ∏_{i ≤ m} (1 − q^(n + i)) / (1 − q^i), a polynomial in q, and
    the same for U and mn − U, so that the shorter tail is counted.
    """
    m, n = sorted((m, n))
    rest = m * n - u  # P(U ≥ u) = P(U ≤ mn − u)
    upper = u > rest
    last = rest if upper else u - 1
    orders = np.zeros(last + 1, dtype=object)
    orders[:1] = 1
    for i in range(1, m + 1):
        if n + i <= last:
            orders[n + i :] = orders[n + i :] - orders[: last + 1 - n - i]
        for start in range(min(i, last + 1)):
            orders[start::i] = np.add.accumulate(orders[start::i])
    counted, every = int(orders.sum()), math.comb(m + n, m)
    return (counted if upper else every - counted) / every


def welch_greater(first: Floats, second: Floats) -> float:
    """P-value of "the first sample's mean is no higher", without assuming equal variances.

    Args:
        first: [m], m ≥ 2.
        second: [n], n ≥ 2; one of the two must vary.

    >>> round(welch_greater(np.array([3.0, 5.0]), np.array([1.0, 2.0, 3.0])), 4)
    0.1241
    """
    parts = first.var(ddof=1) / len(first), second.var(ddof=1) / len(second)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(first) - 1) + parts[1] ** 2 / (len(second) - 1))
    return student_tail(float((first.mean() - second.mean()) / math.sqrt(sum(parts))), float(freedom))
