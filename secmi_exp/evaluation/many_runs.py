"""A lower bound on ε from many trainings, each of which had an image or had it not.

Each training of a target of its own is an independent trial, so that Clopper–Pearson bounds on the error rates of a
test "was the image in this training?" hold as they are: Jagielski, Ullman and Oprea 2020 ("Auditing differentially
private machine learning"), Nasr et al. 2021 ("Adversary instantiation"). The image and the threshold are chosen on some
of the trainings, and the bound is computed on the others.
"""

from dataclasses import dataclass

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.confusion import Confusion
from secmi_exp.evaluation.privacy_bound import bound_at, epsilon_from_counts, highest_bound
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
        counts = self.outcome
        best = epsilon_from_counts(
            0, counts.n_holdout, 0, counts.n_member, delta=self.delta, confidence=self.confidence
        )
        return float(best)


def many_run_bound(scores: Floats, included: Bools, *, delta: float = 0.0, confidence: float = 0.95) -> ManyRunBound:
    """The bound for the image that the first third of the trainings finds the most exposed.

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
    best: tuple[float, float, int, float] | None = None
    for image in range(scores.shape[1]):
        choosing, judging = (judged[:first, image], judged[first:, image])
        own = Scored(scores[:first, image][choosing], included[:first, image][choosing])
        if not (_both(own.is_member) and _both(included[first:, image][judging])):
            continue
        epsilon, threshold = highest_bound(own, delta=delta, confidence=confidence)
        most_accurate, accuracy = Roc.from_scores(own.scores, own.is_member).best_threshold()
        if best is None or (epsilon, accuracy) > best[:2]:
            best = (epsilon, accuracy, image, lowered(threshold if epsilon > 0.0 else most_accurate, own.scores))
    if best is None:
        raise UserError(
            f"{len(scores)} trainings are too few: each image needs some with it and some without it, both among the "
            f"first {first} and among the others. Train targets for more seeds."
        )
    _, _, image, threshold = best
    rows = np.flatnonzero(judged[:, image])
    rows = rows[rows >= first]
    bound = bound_at(Scored(scores[rows, image], included[rows, image]), threshold, delta=delta, confidence=confidence)
    return ManyRunBound(bound.epsilon, delta, confidence, image, threshold, bound.outcome)


def lowered(threshold: float, scores: Floats) -> float:
    """Half-way to the next lower score, so that other trainings are called alike on either side of the gap.

    >>> lowered(3.0, np.array([1.0, 3.0, 4.0])), lowered(1.0, np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    lower = scores[scores < threshold]
    return float((threshold + lower.max()) / 2.0) if len(lower) and np.isfinite(threshold) else threshold


def _both(included: Bools) -> bool:
    return bool(included.any() and not included.all())
