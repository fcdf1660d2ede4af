"""Adjustment of p-values for multiple testing: those adjusted to ≤ α are rejected."""

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.scored import Floats


def holm(p_values: Floats) -> Floats:
    """Family-wise error: P(any true null rejected) ≤ α, however the p-values depend on each other.

    Holm 1979, Scandinavian Journal of Statistics 6: the i-th smallest of n is multiplied by n − i + 1, and none is
    adjusted below a smaller one.

    Args:
        p_values: [n], in [0, 1].

    Returns:
        [n], adjusted, in [0, 1].

    Raises:
        UserError: for a value outside [0, 1].

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    _refuse_outside(p_values)
    order, n = np.argsort(p_values), len(p_values)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * (n - np.arange(n))), 1.0)
    return adjusted


def benjamini_hochberg(p_values: Floats) -> Floats:
    """False-discovery rate (q-values): E(true nulls among the rejected) ≤ α.

    Benjamini and Hochberg 1995, JRSS B 57: the i-th smallest of n becomes the least of n p₍ⱼ₎/j over j ≥ i. Holds for
    independent p-values and for positively dependent ones (PRDS), and conformal p-values of one shared reference are
    such (Bates, Candès, Lei, Romano and Sesia 2023, Annals of Statistics 51, theorem 2).

    Args:
        p_values: [n], in [0, 1].

    Returns:
        [n], adjusted, in [0, 1].

    Raises:
        UserError: for a value outside [0, 1].

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    _refuse_outside(p_values)
    order, n = np.argsort(p_values), len(p_values)
    adjusted = np.empty_like(p_values)
    spread = (p_values[order] * (n / np.arange(1, n + 1)))[::-1]
    adjusted[order] = np.minimum(np.minimum.accumulate(spread)[::-1], 1.0)
    return adjusted


def _refuse_outside(p_values: Floats) -> None:
    outside = ~((p_values >= 0.0) & (p_values <= 1.0))
    if outside.any():
        raise UserError(f"p-values lie between 0 and 1, not at {p_values[outside][0]:g}.")
