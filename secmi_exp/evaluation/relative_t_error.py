"""How much larger the t-errors of hold-outs are than those of members (the paper's figure 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secmi_exp.evaluation.scored import Bools


@dataclass(frozen=True)
class RelativeTError:
    """Mean t-error of hold-outs over that of members at each timestep, with a 95% interval; lists of equal length.

    NaN where there is none: where the members' t-errors are all 0, or one is not finite; and no interval where a side
    has one sample.
    """

    timesteps: list[int]
    """Values of t_sec."""
    ratio: list[float]
    low: list[float]
    high: list[float]


def relative_t_error(timesteps: Sequence[int], t_errors: NDArray[np.floating], is_member: Bools) -> RelativeTError:
    """The interval is by the delta method, on a logarithmic scale.

    Args:
        timesteps: T values of t_sec.
        t_errors: [n, T].
        is_member: [n].

    >>> errors = np.array([[1.0], [3.0], [5.0], [7.0]])
    >>> found = relative_t_error([100], errors, np.array([True, True, False, False]))
    >>> found.ratio, found.low[0] < 3.0 < found.high[0]
    ([3.0], True)
    """
    errors = np.asarray(t_errors, dtype=np.float64)
    sides = [errors[is_member], errors[~is_member]]
    means = [np.where(np.isfinite(side).all(axis=0), side.mean(axis=0), np.nan) for side in sides]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        relative_variance = sum(
            (side.var(axis=0, ddof=1) if len(side) > 1 else np.nan) / len(side) / mean**2
            for side, mean in zip(sides, means, strict=True)
        )
        ratio, spread = means[1] / means[0], np.exp(1.96 * np.sqrt(relative_variance))
        ends = [np.where(np.isfinite(each), each, np.nan) for each in (ratio, ratio / spread, ratio * spread)]
    return RelativeTError(list(timesteps), *(each.tolist() for each in ends))
