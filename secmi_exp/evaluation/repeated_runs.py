"""One metric over several runs that differ in their seed or split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.distributions import mean_interval
from secmi_exp.evaluation.scored import Interval


@dataclass(frozen=True)
class RepeatedRuns:
    """How a metric varies from run to run."""

    runs: int
    mean: float
    deviation: float | None
    """Standard deviation of a single run, with runs − 1; None for one run."""
    ci95: Interval | None
    """Of the mean: mean ± t · deviation/√runs with runs − 1 degrees of freedom, not cut to the metric's range; None for
    one run."""


def repeated_runs(values: Sequence[float]) -> RepeatedRuns:
    """Mean, deviation and Student's 95% interval of a metric over k independent runs.

    Other than the intervals of a single run, it covers what another target, seed or split would give. Runs are
    independent where each trains its own target on its own split; new seeds of one split say nothing about other
    splits, and overlapping splits of one dataset vary less than new data would (Nadeau and Bengio 2003, Machine
    Learning 52).

    Args:
        values: [k].

    Raises:
        UserError: for no values, or one that is not finite.

    >>> summary = repeated_runs([0.81, 0.84, 0.87])
    >>> round(summary.mean, 3), round(summary.deviation, 3), [round(end, 3) for end in summary.ci95]
    (0.84, 0.03, [0.765, 0.915])
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array) or not np.isfinite(array).all():
        raise UserError(f"A metric over runs needs at least one finite value in each run, not {list(values)}.")
    if len(array) == 1:
        return RepeatedRuns(1, float(array[0]), None, None)
    mean, interval = mean_interval(array)
    return RepeatedRuns(len(array), mean, float(array.std(ddof=1)), interval)
