"""Single points of a ROC at named false-positive rates, and how exactly these samples fix them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.distributions import beta_quantile
from secmi_exp.evaluation.proportions import clopper_pearson
from secmi_exp.evaluation.roc import allowed_holdouts, unresolved
from secmi_exp.evaluation.scored import Bools, Floats, Interval, sides


@dataclass(frozen=True)
class OperatingPoint:
    """The threshold that the hold-outs set for a false-positive rate, and what it does."""

    max_fpr: float
    """The rate named."""
    threshold: float
    """Members are scores ≥ it: just above the (a+1)th highest hold-out, where a of h hold-outs are allowed."""
    tpr: float
    """True-positive rate of the members judged; equals ``Roc.tpr_at(max_fpr)``."""
    tpr_interval: Interval
    """Clopper–Pearson over the members. The threshold depends on the hold-outs alone and counts as fixed: this is the
    rate of an auditor who goes on using it. The bootstrap interval also moves the threshold, and is wider."""
    fpr_interval: Interval
    """Interval for future hold-outs at this threshold: Beta(a + 1, h − a), whatever continuous distribution scores have
    (Wilks 1941, Annals of Mathematical Statistics 12); with ties the upper end still holds."""


def tpr_metric(max_fpr: float) -> str:
    """The name under which the true-positive rate at a false-positive rate is reported.

    >>> tpr_metric(0.01), tpr_metric(0.001)
    ('tpr_at_1pct_fpr', 'tpr_at_0.1pct_fpr')
    """
    return f"tpr_at_{100 * max_fpr:g}pct_fpr"


def operating_point(scores: Floats, is_member: Bools, max_fpr: float) -> OperatingPoint:
    """The point at one false-positive rate, with 95% intervals.

    Args:
        scores: [n].
        is_member: [n].
        max_fpr: in (0, 1), at least 1 / hold-outs.

    Raises:
        UserError: where there are too few hold-outs for it, or the rate is out of range.
    """
    members, holdouts = sides(scores, is_member)
    if not 0.0 < max_fpr < 1.0:
        raise UserError(f"An operating point needs a false-positive rate between 0 and 1, not {max_fpr:g}.")
    if reason := unresolved(max_fpr, len(holdouts)):
        raise UserError(f"The true-positive rate is not resolved: {reason}.")
    allowed = min(allowed_holdouts(max_fpr, len(holdouts)), len(holdouts) - 1)
    first_refused = np.partition(holdouts, len(holdouts) - allowed - 1)[len(holdouts) - allowed - 1]
    detected = int(np.count_nonzero(members > first_refused))
    low, high = beta_quantile([0.025, 0.975], allowed + 1, len(holdouts) - allowed)
    return OperatingPoint(
        max_fpr=max_fpr,
        threshold=math.nextafter(first_refused, math.inf),
        tpr=detected / len(members),
        tpr_interval=clopper_pearson(detected, len(members)),
        fpr_interval=(float(low), float(high)),
    )


def operating_points(scores: Floats, is_member: Bools, max_fprs: Iterable[float]) -> dict[str, OperatingPoint]:
    """Metric name → point, for those rates that these hold-outs resolve."""
    n_holdout = int(np.count_nonzero(~is_member))
    resolved = [max_fpr for max_fpr in max_fprs if not unresolved(max_fpr, n_holdout)]
    return {tpr_metric(max_fpr): operating_point(scores, is_member, max_fpr) for max_fpr in resolved}
