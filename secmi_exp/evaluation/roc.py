"""The exact ROC of a set of scores, and what is read off it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, roc_curve

from secmi_exp.errors import UserError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Roc:
    """A point for each distinct threshold, "member where score ≥ threshold", from strict to lax."""

    thresholds: Floats
    """[P], descending; the first is +∞, where nothing is called a member."""
    fpr: Floats
    """[P], ascending."""
    tpr: Floats
    """[P], ascending."""
    auc: float

    @classmethod
    def of(cls, scores: Floats, is_member: NDArray[np.bool_]) -> "Roc":
        """Exact ROC of scores [n] against labels [n].

        Raises:
            UserError: for a score that is not finite, or where a side is empty.
        """
        if not np.isfinite(scores).all():
            raise UserError(
                f"{np.count_nonzero(~np.isfinite(scores))} of {len(scores)} membership scores are not finite: "
                "the target's predictions overflow; try trainer.query_precision=32."
            )
        if is_member.all() or not is_member.any():
            raise UserError("A ROC needs members and hold-outs, but only one side has scores: check the split.")
        fpr, tpr, thresholds = roc_curve(is_member, scores, drop_intermediate=False)
        return cls(thresholds, fpr, tpr, float(auc(fpr, tpr)))

    def tpr_at(self, max_fpr: float, n_holdouts: int) -> float:
        """The largest true-positive rate at a threshold whose false-positive rate is ≤ max_fpr."""
        allowed = math.floor(max_fpr * n_holdouts + 1e-9)  # in hold-outs: 0.1 % of 1000 is 1, not 0.99…
        return float(self.tpr[np.rint(self.fpr * n_holdouts) <= allowed].max())

    def best_threshold(self) -> tuple[float, float]:
        """The threshold of the best balanced accuracy, and that accuracy; the strictest one of equals."""
        accuracy = (self.tpr + 1.0 - self.fpr) / 2.0
        best = int(accuracy.argmax())
        return float(self.thresholds[best]), float(accuracy[best])


def balanced_accuracy(scores: Floats, is_member: NDArray[np.bool_], threshold: float) -> float:
    """Mean of the two sides' accuracies where "member" means score ≥ threshold."""
    called = scores >= threshold
    return float((called[is_member].mean() + (~called[~is_member]).mean()) / 2.0)
