"""Evidence of membership for a data owner: for single samples, and for a collection.

Everything is relative to reference hold-outs, samples that the target certainly did not see and that were drawn like
the ones in question. Where they were not (another camera, a later date), small p-values show that difference and not
membership: see Das, Zhang and Tramèr 2024, "Blind baselines beat membership inference attacks for foundation models".
"""

from typing import Literal

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.scored import Floats
from secmi_exp.evaluation.two_sample_tests import mann_whitney_greater, welch_greater

Test = Literal["mann_whitney", "welch"]


def percentiles(scores: Floats, reference: Floats) -> Floats:
    """Percentage of reference hold-outs that each sample outscores, equals counted half.

    Args:
        scores: [n].
        reference: [r], scores of hold-outs.

    Returns:
        [n], in [0, 100].

    Raises:
        UserError: for no reference, or a score that is not finite.

    >>> percentiles(np.array([0.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0])).tolist()
    [0.0, 37.5, 100.0]
    """
    ordered = _ordered(scores, reference)
    below, up_to = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return np.asarray(50.0 * (below + up_to) / len(ordered), dtype=np.float64)


def conformal_p_values(scores: Floats, reference: Floats) -> Floats:
    """p = (1 + #{hold-outs with a score ≥ s}) / (1 + r), of "this sample is a hold-out like the reference".

    Where it is one, P(p ≤ α) ≤ α for every α, with equality up to 1/(r + 1) where scores don't tie (Vovk, Gammerman and
    Shafer 2005; Bates et al. 2023). The guarantee averages over references: all p-values of one reference share its
    luck. The smallest p is 1/(r + 1).

    Args:
        scores: [n], of samples that are not in the reference; see ``leave_one_out_p_values`` for those.
        reference: [r], scores of hold-outs.

    Returns:
        [n], in (0, 1].

    Raises:
        UserError: for no reference, or a score that is not finite.

    >>> conformal_p_values(np.array([5.0, 2.0, 0.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [0.25, 0.75, 1.0]
    """
    ordered = _ordered(scores, reference)
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.asarray((1.0 + at_least) / (1.0 + len(ordered)), dtype=np.float64)


def leave_one_out_p_values(reference: Floats) -> Floats:
    """Conformal p-values of the reference hold-outs themselves, each against the other r − 1.

    p = (1 + #{others ≥ s})/(1 + (r − 1)) = #{hold-outs ≥ s, itself among them}/r. Each is valid by itself; together
    they are just the ranks, so they say how a hold-out looks, and are no evidence to be counted or corrected.

    Args:
        reference: [r], scores of hold-outs.

    Returns:
        [r], in (0, 1].

    Raises:
        UserError: for no reference, or a score that is not finite.

    >>> leave_one_out_p_values(np.array([1.0, 4.0, 2.0, 3.0])).tolist()
    [1.0, 0.25, 0.75, 0.5]
    """
    ordered = _ordered(reference, reference)
    at_least = len(ordered) - np.searchsorted(ordered, reference, side="left")
    return np.asarray(at_least / len(ordered), dtype=np.float64)


def collection_p_value(scores: Floats, reference: Floats, *, test: Test = "mann_whitney") -> float:
    """One-sided p-value of "the collection scores no higher than hold-outs do".

    Mann–Whitney asks whether its samples outrank hold-outs, and takes t-errors of any skewness; it is exact for small
    samples without ties, else normal with tie and continuity correction. Welch's t-test asks whether their mean is
    higher; it is the choice of dataset inference (Maini et al. 2021; Dubiński et al. 2025, CDI), and needs tens of
    samples with no outliers. Choose one before looking.

    Args:
        scores: [n], of the collection.
        reference: [r], scores of hold-outs, none of them in the collection.
        test: which.

    Raises:
        UserError: for no scores, one that is not finite, or, with Welch's, fewer than two on a side.
    """
    _ordered(scores, reference)
    if not len(scores):
        raise UserError("A collection without samples can't be judged.")
    if test == "mann_whitney":
        return mann_whitney_greater(scores, reference)
    if min(len(scores), len(reference)) < 2:
        raise UserError(
            f"Welch's t-test needs two samples on each side, not {len(scores)} and {len(reference)}: use mann_whitney."
        )
    if np.ptp(scores) == np.ptp(reference) == 0.0:
        raise UserError("Welch's t-test needs scores that vary: use mann_whitney.")
    return welch_greater(scores, reference)


def _ordered(scores: Floats, reference: Floats) -> Floats:
    """The reference in ascending order."""
    if not len(reference):
        raise UserError("Exposure is relative to reference hold-outs, and there are none.")
    if not (np.isfinite(scores).all() and np.isfinite(reference).all()):
        raise UserError("Exposure needs finite membership scores: check how they were computed.")
    return np.sort(reference)
