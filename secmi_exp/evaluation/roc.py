"""The exact ROC of a set of scores, and what is read off it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_auroc, binary_roc

from secmi_exp.errors import UserError

Floats = NDArray[np.float64]


def ranks(scores: Floats) -> Floats:
    """Scores to their dense ranks in [0, 1], equal scores to equal ranks.

    torchmetrics takes values outside [0, 1] for logits and applies a sigmoid, which makes ties of raw t-errors; ranks
    keep the order and stay inside.

    >>> ranks(np.array([-300.0, 20.0, -300.0, 500.0])).tolist()
    [0.0, 0.5, 0.0, 1.0]
    """
    distinct, rank = np.unique(scores, return_inverse=True)
    scaled: Floats = rank / max(1, len(distinct) - 1)
    return scaled


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
                "the target's predictions overflow; try trainer.precision=32-true."
            )
        if is_member.all() or not is_member.any():
            raise UserError("A ROC needs members and hold-outs, but only one side has scores: check the split.")
        rank, target = torch.from_numpy(ranks(scores)), torch.from_numpy(is_member.astype(np.int64))
        fpr, tpr, _ = binary_roc(rank, target, thresholds=None)
        thresholds = np.concatenate([[np.inf], np.unique(scores)[::-1]])
        # torchmetrics computes the rates in float32: they are counts over n, so the counts are recovered exactly.
        n_members, n_holdouts = int(is_member.sum()), int((~is_member).sum())
        return cls(
            thresholds,
            np.rint(fpr.double().numpy() * n_holdouts) / n_holdouts,
            np.rint(tpr.double().numpy() * n_members) / n_members,
            float(binary_auroc(rank, target, thresholds=None)),
        )

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
