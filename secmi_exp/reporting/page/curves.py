"""ROC curves small enough for a page."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secmi_exp.evaluation.roc import Roc

MOST_POINTS = 300


@dataclass(frozen=True)
class Curve:
    """Points of a ROC, as counts: exact, and shorter than rates."""

    false_positives: NDArray[np.int64]
    """[p], ascending from 0 to the number of hold-outs."""
    true_positives: NDArray[np.int64]
    """[p], ascending from 0 or more to the number of members."""

    @property
    def n_holdout(self) -> int:
        """Hold-outs judged."""
        return int(self.false_positives[-1])

    @property
    def n_member(self) -> int:
        """Members judged."""
        return int(self.true_positives[-1])

    @property
    def fpr(self) -> list[float]:
        """[p]."""
        return [float(each) for each in self.false_positives / self.n_holdout]

    @property
    def tpr(self) -> list[float]:
        """[p]."""
        return [float(each) for each in self.true_positives / self.n_member]

    @property
    def floor(self) -> float:
        """The smallest rate that is not 0: where logarithmic axes begin."""
        return 1.0 / max(self.n_holdout, self.n_member)


def thinned(roc: Roc, n_member: int, n_holdout: int, most: int = MOST_POINTS) -> Curve:
    """The highest point at each false-positive rate, or, where these are too many, the best of them.

    Half of the points kept lie evenly on the logarithmic axis, so that the first false positives keep one each, and
    half on the linear one. All kept are points of the exact curve, and as a staircase it never exceeds that curve.

    Args:
        roc: exact.
        n_member: behind it.
        n_holdout: behind it.
        most: points to be left.
    """
    fp, tp = (np.rint(rate * count).astype(np.int64) for rate, count in ((roc.fpr, n_holdout), (roc.tpr, n_member)))
    highest = np.append(np.diff(fp) > 0, True)
    rises = np.flatnonzero(highest)
    rises = rises[np.append(True, np.diff(tp[rises]) > 0) | (rises == len(fp) - 1)]
    if len(rises) > most:
        half = most // 2 - 1
        wanted = np.concatenate([[0], np.geomspace(1, n_holdout, half), np.linspace(0, n_holdout, half)])
        places = np.searchsorted(fp[rises], wanted, side="right") - 1
        rises = rises[np.unique(np.append(places, len(rises) - 1))]
    return Curve(fp[rises], tp[rises])
