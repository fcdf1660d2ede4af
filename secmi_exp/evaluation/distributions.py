"""Distribution functions and quantiles of scipy, typed."""

import math

import numpy as np
from numpy.typing import ArrayLike

from secmi_exp.deferred import Deferred
from secmi_exp.evaluation.scored import Floats, Interval

bdtr = Deferred("scipy.special:bdtr")
bdtrc = Deferred("scipy.special:bdtrc")
betaincinv = Deferred("scipy.special:betaincinv")
ndtr = Deferred("scipy.special:ndtr")
stdtr = Deferred("scipy.special:stdtr")
stdtrit = Deferred("scipy.special:stdtrit")


def beta_quantile(level: ArrayLike, a: ArrayLike, b: ArrayLike) -> Floats:
    """x with P(X ≤ x) = level, X ~ Beta(a, b); broadcast.

    >>> float(beta_quantile(0.5, 3, 3).round(6))
    0.5
    """
    return np.asarray(betaincinv(a, b, level), dtype=np.float64)


def binomial_cdf(k: ArrayLike, trials: int, probability: float) -> Floats:
    """P(X ≤ k), X ~ Binomial(trials, probability).

    >>> binomial_cdf([0, 1, 2], 2, 0.5).tolist()
    [0.25, 0.75, 1.0]
    """
    return np.asarray(bdtr(np.asarray(k, dtype=np.float64), trials, probability), dtype=np.float64)


def binomial_tail(k: int, trials: int, probability: float) -> float:
    """P(X ≥ k), X ~ Binomial(trials, probability), to full relative precision.

    >>> binomial_tail(1, 2, 0.5)
    0.75
    """
    return float(bdtrc(float(k - 1), trials, probability)) if k > 0 else 1.0


def normal_tail(value: float) -> float:
    """P(Z ≥ value), Z ~ N(0, 1), to full relative precision.

    >>> round(normal_tail(1.96), 4)
    0.025
    """
    return float(ndtr(-value))


def student_quantile(level: float, freedom: int) -> float:
    """x with P(T ≤ x) = level, T ~ t(freedom).

    >>> round(student_quantile(0.975, 4), 3)
    2.776
    """
    return float(stdtrit(freedom, level))


def student_tail(value: float, freedom: float) -> float:
    """P(T ≥ value), T ~ t(freedom).

    >>> round(student_tail(2.776, 4), 3)
    0.025
    """
    return float(stdtr(freedom, -value))


def mean_interval(values: ArrayLike) -> tuple[float, Interval]:
    """Mean of n ≥ 2 independent values, and Student's 95% interval of it, not cut to any range.

    >>> mean, (low, high) = mean_interval([0.81, 0.84, 0.87])
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (0.84, 0.765, 0.915)
    """
    array = np.asarray(values, dtype=np.float64)
    mean, deviation = float(array.mean()), float(array.std(ddof=1))
    reach = student_quantile(0.975, len(array) - 1) * deviation / math.sqrt(len(array))
    return mean, (mean - reach, mean + reach)
