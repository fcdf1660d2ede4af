"""Total variation distance: how far apart members and hold-outs lie in the outputs of a discriminator.

Source: Mukherjee, Xu, Trivedi, Patowary and Ferres, "privGAN: Protecting GANs from membership inference attacks at low
cost to utility" (PoPETs 2021). TVD is a number of two sets: ½ ∫ |h_M − h_H| of the histograms of outputs in [0, 1],
which is the largest TPR − FPR that any decision by bins has, and the advantage of the test h_M/h_H > 1 exactly. So the
likelihood ratio is the score, from histograms of the attack-train part; on the part that is judged, 2·ASR − 1 is what
remains of the TVD where labels aren't known.
"""

import logging
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import Fitting, LearnedScorer, Scores
from secmi_exp.deferred import Deferred

expit = Deferred("scipy.special:expit")

log = logging.getLogger(__name__)

Histogram = NDArray[np.float64]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class HistogramRatio(LearnedScorer):
    """log h_M/h_H of the bin that a value falls in."""

    version: ClassVar[int] = 1

    value: str
    """Its name; log-odds, of which the probabilities are counted."""
    bins: PositiveInt
    """Number of bins of equal width in [0, 1]."""
    pseudo_count: PositiveFloat
    """Images that are added to each bin of either histogram, so that empty ones have a ratio."""

    def fit_and_score(self, measured: Measurements, fitting: Fitting) -> Scores:
        """Count the outputs of the fitted rows, score all."""
        probabilities = expit(np.asarray(measured.values[self.value], dtype=np.float64))
        places = np.minimum((probabilities * self.bins).astype(np.int64), self.bins - 1)
        members, holdouts = (
            np.bincount(places[fitting.rows[side]], minlength=self.bins).astype(np.float64)
            for side in (fitting.is_member, ~fitting.is_member)
        )
        distance = total_variation(members / members.sum(), holdouts / holdouts.sum())
        log.info(
            "TVD %.3f between %d members and %d hold-outs of the attack-train part in %d bins; few images raise it.",
            distance, members.sum(), holdouts.sum(), self.bins,
        )  # fmt: skip
        smoothed = [counts + self.pseudo_count for counts in (members, holdouts)]
        ratio = np.log(smoothed[0] / smoothed[0].sum()) - np.log(smoothed[1] / smoothed[1].sum())
        scores: Scores = ratio[places]
        return scores


def total_variation(one: Histogram, other: Histogram) -> float:
    """½ Σ |h_1 − h_2| of two histograms that sum to 1.

    >>> total_variation(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    0.5
    """
    return float(np.abs(one - other).sum() / 2)
