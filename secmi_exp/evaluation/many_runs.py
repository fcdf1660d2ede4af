"""A lower bound on ε from many trainings, each of which had an image or had it not.

Each training of a target of its own is an independent trial, so that Clopper–Pearson bounds on the error rates of a
test "was the image in this training?" hold as they are: Jagielski, Ullman and Oprea 2020 ("Auditing differentially
private machine learning"), Nasr et al. 2021 ("Adversary instantiation"). The image and the threshold are chosen on some
of the trainings, and the bound is computed on the others.
"""

from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.confusion import Confusion
from secmi_exp.evaluation.privacy_bound import epsilon_of, highest_bound
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Bools, Floats, Scored

CHOOSING = 1 / 3
"""Share of the trainings that image and threshold are chosen on: the first ones."""


@dataclass(frozen=True)
class ManyRunBound:
    """P(the true ε is below ``epsilon``) ≤ 1 − confidence."""

    epsilon: float
    """≥ 0."""
    delta: float
    confidence: float
    image: int
    """Column of the image that was chosen."""
    threshold: float
    """"In" where score ≥ it."""
    outcome: Confusion
    """Counts of the trainings that judge it: with the image (members) and without."""

    @property
    def highest_possible(self) -> float:
        """The ε of a test without a mistake on these trainings: no outcome of so few refutes more."""
        best = replace(self.outcome, true_positives=self.outcome.n_member, false_positives=0)
        return epsilon_of(best, delta=self.delta, confidence=self.confidence)


def many_run_bound(scores: Floats, included: Bools, *, delta: float = 0.0, confidence: float = 0.95) -> ManyRunBound:
    """The bound for the image that the first third of the trainings finds the most exposed.

    The threshold is the image's own, or the most accurate one of all images together where that does as well: it rests
    on more scores.

    Args:
        scores: of each image by an attack on each training's target, higher = more likely in; NaN where an image isn't
            judged, for a reason that its coin has no part in. [trainings, images]
        included: whether the image was in that training, by a fair coin. [trainings, images]
        delta: in [0, 1).
        confidence: in (0, 1).

    Raises:
        UserError: where no image has trainings with and without it, both among the first third and among the others.
    """
    first = round(len(scores) * CHOOSING)
    judged = ~np.isnan(scores)
    choosing, judging = np.arange(len(scores)) < first, np.arange(len(scores)) >= first
    images = [
        image
        for image in range(scores.shape[1])
        if all(_both(included[judged[:, image] & part, image]) for part in (choosing, judging))
    ]
    if not images:
        raise UserError(
            f"{len(scores)} trainings are too few: each image needs some with it and some without it, both among the "
            f"first {first} and among the others. Train targets for more seeds."
        )
    common = most_accurate_threshold(Scored(scores[:first][judged[:first]], included[:first][judged[:first]]))
    candidates: list[tuple[tuple[float, float, bool], int, float]] = []
    for image in images:
        rows = judged[:, image] & choosing
        own = Scored(scores[rows, image], included[rows, image])
        highest = lowered(highest_bound(own, delta=delta, confidence=confidence)[1], own.scores)
        for threshold in (common, highest, most_accurate_threshold(own)):
            outcome = Confusion.at(own.scores, own.is_member, threshold)
            epsilon = epsilon_of(outcome, delta=delta, confidence=confidence)
            rank = epsilon, outcome.balanced_accuracy, threshold == common
            candidates.append((rank, image, threshold))
    _, image, threshold = max(candidates, key=itemgetter(0))
    rows = judged[:, image] & judging
    outcome = Confusion.at(scores[rows, image], included[rows, image], threshold)
    epsilon = epsilon_of(outcome, delta=delta, confidence=confidence)
    return ManyRunBound(epsilon, delta, confidence, image, threshold, outcome)


def most_accurate_threshold(scored: Scored) -> float:
    """The threshold of the best balanced accuracy, half-way down to the next lower score."""
    return lowered(Roc.from_scores(scored.scores, scored.is_member).best_threshold()[0], scored.scores)


def lowered(threshold: float, scores: Floats) -> float:
    """Half-way to the next lower score, so that other trainings are called alike on either side of the gap.

    >>> lowered(3.0, np.array([1.0, 3.0, 4.0])), lowered(1.0, np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    lower = scores[scores < threshold]
    return float((threshold + lower.max()) / 2.0) if len(lower) and np.isfinite(threshold) else threshold


def _both(included: Bools) -> bool:
    return bool(included.any() and not included.all())
