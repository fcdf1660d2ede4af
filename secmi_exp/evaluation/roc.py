"""The exact ROC of a set of scores, and what is read off it."""

import math
from dataclasses import dataclass

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.scored import Bools, Floats, Interval, sides


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
    def from_scores(cls, scores: Floats, is_member: Bools) -> "Roc":
        """Exact ROC of scores [n] against labels [n].

        Raises:
            UserError: for a score that is not finite, or where a side is empty.
        """
        members, holdouts = sides(scores, is_member)
        descending, group = np.unique(-scores.astype(np.float64), return_inverse=True)
        tpr, fpr = (
            np.append(0.0, np.bincount(group[side], minlength=len(descending)).cumsum() / count)
            for side, count in ((is_member, len(members)), (~is_member, len(holdouts)))
        )
        return cls(np.append(np.inf, -descending), fpr, tpr, float(np.trapezoid(tpr, fpr)))

    def tpr_at(self, max_fpr: float, n_holdouts: int) -> float:
        """The largest true-positive rate at a threshold whose false-positive rate is ≤ max_fpr."""
        return float(self.tpr[np.rint(self.fpr * n_holdouts) <= allowed_holdouts(max_fpr, n_holdouts)].max())

    def best_threshold(self) -> tuple[float, float]:
        """The threshold of the best balanced accuracy, and that accuracy; the strictest one of equals."""
        accuracy = (self.tpr + 1.0 - self.fpr) / 2.0
        best = int(accuracy.argmax())
        return float(self.thresholds[best]), float(accuracy[best])

    def log_pauc(self, n_holdouts: int, min_fpr: float | None = None) -> float:
        """Area under TPR over log₁₀ FPR from min_fpr to 1, divided by the log₁₀(1/min_fpr) decades it spans.

        TPR at x is ``tpr_at(x)``: a staircase, not interpolated. Each member adds the decades over which it is
        called one, so the area is the members' mean of log max(FPR at their score, min_fpr) / log min_fpr. It is 1
        where every member outscores every hold-out, (1 − min_fpr)/log(1/min_fpr) in expectation where scores say
        nothing, and comparable between runs only at the same min_fpr. The log axis is that of Carlini et al. 2022
        ("Membership inference attacks from first principles", section IV).

        Args:
            n_holdouts: hold-outs behind the ROC.
            min_fpr: in (0, 1); 1/n_holdouts by default, the smallest rate that they resolve.

        Raises:
            UserError: where min_fpr is no such rate, or needs more hold-outs.
        """
        min_fpr = 1.0 / n_holdouts if min_fpr is None else min_fpr
        if not 0.0 < min_fpr < 1.0:
            raise UserError(f"A log-scale area starts at a false-positive rate between 0 and 1, not {min_fpr:g}.")
        if reason := unresolved(min_fpr, n_holdouts):
            raise UserError(f"The log-scale area starts too low: {reason}.")
        decades = np.log(np.maximum(self.fpr[1:], min_fpr)) / math.log(min_fpr)
        return float(np.diff(self.tpr) @ decades)


def asr_interval(asr: float, n_member: int, n_holdout: int) -> Interval:
    """95% interval of the best balanced accuracy over all thresholds, for any number of samples and any scores.

    An accuracy is (1 + TPR − FPR)/2, and a side of n samples gives its rate within ε = √(ln(4/α)/2n) at all thresholds
    at once with probability 1 − α/2, α = 0.05 (Dvoretzky, Kiefer and Wolfowitz 1956, with Massart's constant of 1990).
    So the best accuracy is known within (ε_m + ε_h)/2; it is never below ½.

    Args:
        asr: the best accuracy on these samples.
        n_member: members.
        n_holdout: hold-outs.

    >>> [round(end, 3) for end in asr_interval(1.0, 12, 12)]
    [0.573, 1.0]
    """
    reach = sum(math.sqrt(math.log(4.0 / 0.05) / (2 * n)) for n in (n_member, n_holdout)) / 2.0
    return max(0.5, asr - reach), min(1.0, asr + reach)


def allowed_holdouts(max_fpr: float, n_holdouts: int) -> int:
    """How many hold-outs may be called members at a false-positive rate.

    >>> allowed_holdouts(0.001, 1000)  # and not 0.99…
    1
    """
    return math.floor(max_fpr * n_holdouts + 1e-9)


def unresolved(max_fpr: float, n_holdouts: int) -> str | None:
    """Why so few hold-outs say nothing about such a low false-positive rate, or None where they do.

    >>> unresolved(0.001, 51)
    '0.1% FPR needs at least 1,000 hold-outs, and there are 51'
    >>> unresolved(0.01, 100)
    """
    if allowed_holdouts(max_fpr, n_holdouts) >= 1:
        return None
    needed = f"at least {math.ceil(1 / max_fpr - 1e-9):,}" if max_fpr > 0 else "endlessly many"
    return f"{100 * max_fpr:g}% FPR needs {needed} hold-outs, and there are {n_holdouts:,}"
