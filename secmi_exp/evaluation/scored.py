"""Membership scores with their labels, and the two sides they fall into."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secmi_exp.errors import UserError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Scored:
    """Scores with their labels."""

    scores: Floats
    """[n], higher = more likely a member."""
    is_member: Bools
    """[n]."""


def sides(scores: Floats, is_member: Bools) -> tuple[Floats, Floats]:
    """The members' and the hold-outs' scores, in float64.

    Args:
        scores: [n].
        is_member: [n].

    Raises:
        UserError: for a score that is not finite, or where a side is empty.

    >>> sides(np.array([3.0, 1.0, 2.0]), np.array([True, False, True]))
    (array([3., 2.]), array([1.]))
    """
    if not np.isfinite(scores).all():
        raise UserError(
            f"{np.count_nonzero(~np.isfinite(scores))} of {len(scores)} membership scores are not finite, and only "
            "finite ones can be judged: check how they were computed."
        )
    if is_member.all() or not is_member.any():
        raise UserError("A ROC needs members and hold-outs, but only one side has scores: check the split.")
    scores = scores.astype(np.float64)
    return scores[is_member], scores[~is_member]
