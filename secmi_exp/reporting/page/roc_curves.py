"""ROC curves of the page, thinned: small, and still on the exact curve."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secmi_exp.evaluation.roc import Roc, unresolved
from secmi_exp.reporting.drawing import COLOURS, STYLES
from secmi_exp.reporting.entries import Entry

MOST_POINTS = 300
FIRST_SHOWN = 8
"""Curves that are visible at first."""


@dataclass(frozen=True)
class Curve:
    """Points of a ROC, as counts: exact, and shorter than rates."""

    false_positives: NDArray[np.int64]
    """[p], ascending from 0 or more to the number of hold-outs."""
    true_positives: NDArray[np.int64]
    """[p], ascending from 0 or more to the number of members."""

    @property
    def n_holdout(self) -> int:
        """Number of hold-outs."""
        return int(self.false_positives[-1])

    @property
    def n_member(self) -> int:
        """Number of members."""
        return int(self.true_positives[-1])

    @property
    def fpr(self) -> list[float]:
        """False-positive rates, [p]."""
        return [float(each) for each in self.false_positives / self.n_holdout]

    @property
    def tpr(self) -> list[float]:
        """True-positive rates, [p]."""
        return [float(each) for each in self.true_positives / self.n_member]


@dataclass(frozen=True)
class RocLine:
    """A curve of the chart."""

    entry: Entry
    roc: Roc
    curve: Curve
    """The ROC, thinned."""
    place: int

    @property
    def colour(self) -> int:
        """Number of its colour."""
        return self.place % len(COLOURS)

    @property
    def dashes(self) -> int:
        """Number of its line style."""
        return self.place // len(COLOURS) % len(STYLES)

    @property
    def shown(self) -> bool:
        """Whether it is visible at first."""
        return self.place < FIRST_SHOWN

    def tpr_at(self, max_fpr: float) -> float | None:
        """Return the exact TPR at a false-positive rate; None if the hold-outs are too few for that rate."""
        return None if unresolved(max_fpr, self.curve.n_holdout) else self.roc.tpr_at(max_fpr, self.curve.n_holdout)


def roc_lines(entries: Sequence[Entry]) -> list[RocLine]:
    """Return the curves of the entries that have scores."""
    with_scores = [(entry, entry.evaluated) for entry in entries if entry.evaluated]
    lines = []
    for place, (entry, evaluated) in enumerate(with_scores):
        is_member = evaluated.scored.is_member
        curve = thinned(evaluated.roc, int(is_member.sum()), int(np.count_nonzero(~is_member)))
        lines.append(RocLine(entry, evaluated.roc, curve, place))
    return lines


def thinned(roc: Roc, n_member: int, n_holdout: int) -> Curve:
    """Return the highest point at each false-positive rate, or, if these are too many, the best of them.

    Half of the points kept lie evenly on the logarithmic axis, so that the first false positives keep one each, and
    half on the linear one. All kept are points of the exact curve, and as a staircase it never exceeds that curve.

    Args:
        roc: the exact curve.
        n_member: number of members.
        n_holdout: number of hold-outs.
    """
    fp, tp = (np.rint(rate * count).astype(np.int64) for rate, count in ((roc.fpr, n_holdout), (roc.tpr, n_member)))
    highest = np.append(np.diff(fp) > 0, True)
    rises = np.flatnonzero(highest)
    rises = rises[np.append(True, np.diff(tp[rises]) > 0) | (rises == len(fp) - 1)]
    if len(rises) > MOST_POINTS:
        half = MOST_POINTS // 2 - 1
        wanted = np.concatenate([[0], np.geomspace(1, n_holdout, half), np.linspace(0, n_holdout, half)])
        places = np.searchsorted(fp[rises], wanted, side="right") - 1
        rises = rises[np.unique(np.append(places, len(rises) - 1))]
    return Curve(fp[rises], tp[rises])
