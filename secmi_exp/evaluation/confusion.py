"""Rates, precision and accuracy at a threshold that was fixed without these samples, with exact 95% intervals."""

from dataclasses import dataclass

import numpy as np

from secmi_exp.evaluation.proportions import clopper_pearson, interval_of_mean
from secmi_exp.evaluation.scored import Bools, Floats, Interval, sides


@dataclass(frozen=True)
class Confusion:
    """Counts at one threshold. The intervals hold for a threshold chosen on other samples."""

    true_positives: int
    """Members called members."""
    false_positives: int
    """Hold-outs called members."""
    n_member: int
    n_holdout: int

    @classmethod
    def at(cls, scores: Floats, is_member: Bools, threshold: float) -> "Confusion":
        """Count scores [n] against labels [n], where "member" means score ≥ threshold.

        Raises:
            UserError: for a score that is not finite, or where a side is empty.

        >>> Confusion.at(np.array([3.0, 1.0, 2.0]), np.array([True, True, False]), 2.0)
        Confusion(true_positives=1, false_positives=1, n_member=2, n_holdout=1)
        """
        members, holdouts = sides(scores, is_member)
        called = [int(np.count_nonzero(side >= threshold)) for side in (members, holdouts)]
        return cls(called[0], called[1], len(members), len(holdouts))

    @property
    def false_negatives(self) -> int:
        """Members not called members."""
        return self.n_member - self.true_positives

    @property
    def true_negatives(self) -> int:
        """Hold-outs not called members."""
        return self.n_holdout - self.false_positives

    @property
    def called(self) -> int:
        """Samples called members."""
        return self.true_positives + self.false_positives

    @property
    def recall(self) -> float:
        """Share of members called members: the true-positive rate."""
        return self.true_positives / self.n_member

    @property
    def precision(self) -> float | None:
        """Share of members among those called members, at these samples' share of members; None if none is called."""
        return self.true_positives / self.called if self.called else None

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the two sides' accuracies."""
        return (self.recall + self.true_negatives / self.n_holdout) / 2.0

    def recall_interval(self) -> Interval:
        """Clopper–Pearson: true positives of members."""
        return clopper_pearson(self.true_positives, self.n_member)

    def precision_interval(self) -> Interval | None:
        """Clopper–Pearson: true positives of those called; None if none is called.

        Exact for samples whose membership is drawn; a split of fixed sizes varies less, so it errs on the wide side.
        """
        return clopper_pearson(self.true_positives, self.called) if self.called else None

    def balanced_accuracy_interval(self) -> Interval:
        """Clopper–Pearson of right answers of all; of twice the smaller side, if they differ (``interval_of_mean``)."""
        return interval_of_mean((self.true_positives, self.n_member), (self.true_negatives, self.n_holdout))
