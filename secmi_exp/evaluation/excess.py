"""Surrogate hold-outs: how much more an attack finds on a collection than what can be explained without membership.

Surrogates stand in for hold-outs and may differ from the collection in more than membership, so that the AUC against
them is no measure of a leak. What is judged is an excess of AUCs over what is there without membership:

- Against references, images that are certainly not in the training set, it is what a baseline finds, a cross-fitted
  classifier that never sees the model: the idea of PANORAMIA (Kazmi et al., "PANORAMIA: Privacy Auditing of Machine
  Learning Models without Retraining", NeurIPS 2024), whose bound on ε is not computed here.
- A model finds images that it generated, or that were made of others, easier or harder than real ones without having
  seen either, which no baseline without the model shows. A control does: references against surrogates of the same
  kind. Generated surrogates are the same for collection and references, so that the comparison is one of these two,
  and the baseline counts as well; an augmented one is compared with the image that it was made of.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from secmi_exp.evaluation.delong import ROUNDING, auc_interval, placements
from secmi_exp.evaluation.distributions import student_quantile, student_tail
from secmi_exp.evaluation.scored import Bools, Floats, Interval

Kind = Literal["references", "generated", "augmented"]

LEVEL = 0.05
"""One-sided; the 90% interval lies above 0 just where the p-value is below it."""
MOST_BLIND: Mapping[Kind, float] = {"references": 0.7, "generated": 0.7, "augmented": 0.9}
"""Kind of surrogates → the highest upper end of the 95% interval of the AUC at which a classifier that never sees the
model may tell the collection from the references. An image is compared with what was made of it, so that augmented
surrogates ask less of the references."""


@dataclass(frozen=True)
class Contrast:
    """Scores of two sets of images, n together."""

    scores: Floats
    """[n], higher = more likely of the first set."""
    first: Bools
    """[n]."""
    group: NDArray[np.int64]
    """[n], numbers; images of one number depend on each other, also across contrasts: an image and what was made of it,
    or the same image."""


@dataclass(frozen=True)
class Excess:
    """A difference of AUCs."""

    value: float
    ci90: Interval
    p_value: float
    """One-sided, of "it is 0 or less"."""


def excess(found: Contrast, expected: Sequence[Contrast]) -> Excess:
    """(AUC of one contrast − ½) less that of others, with Student's interval.

    The variance is that of DeLong's structural components, summed within groups (Obuchowski 1997, Biometrics 53): with
    a group for each image it is DeLong's, up to 1/n. The degrees of freedom are those of the smallest side.

    Where no component varies, as with scores that separate all sets, the variance estimate is 0 and says nothing: p is
    then 2^−n of the smallest side (a sign test), and the interval [−1, 1].

    Args:
        found: the attack's contrast on the collection.
        expected: contrasts that show what is there without membership.

    Raises:
        UserError: for a score that is not finite, or an empty set.

    >>> same = Contrast(np.array([1.0, 2.0, 3.0, 2.0]), np.array([True, True, False, False]), np.arange(4))
    >>> excess(same, [same])
    Excess(value=0.0, ci90=(-1.0, 1.0), p_value=1.0)
    """
    signed = [(1.0, found), *((-1.0, each) for each in expected)]
    numbers, groups = np.unique(np.concatenate([each.group for _, each in signed]), return_inverse=True)
    components, value, start = np.zeros(len(numbers)), 0.0, 0
    for sign, each in signed:
        group = groups[start : start + len(each.group)]
        start += len(each.group)
        outscored, outscoring = placements(each.scores, each.first)
        auc = float(outscored.mean())
        value += sign * (auc - 0.5)
        np.add.at(components, group[each.first], sign * (outscored - auc) / len(outscored))
        np.add.at(components, group[~each.first], sign * (outscoring - auc) / len(outscoring))
    smallest = min(int(side.sum()) for _, each in signed for side in (each.first, ~each.first))
    if smallest < 2:
        return Excess(value, (-1.0, 1.0), 1.0)
    error = math.sqrt(len(numbers) / (len(numbers) - 1) * float(components @ components))
    if error < ROUNDING:
        return Excess(value, (-1.0, 1.0), 0.5**smallest if value > ROUNDING else 1.0)
    reach = student_quantile(1.0 - LEVEL, smallest - 1) * error
    interval = max(-1.0, value - reach), min(1.0, value + reach)
    return Excess(value, interval, student_tail(value / error, smallest - 1))


class Verdict(StrEnum):
    """What surrogate hold-outs let one say."""

    USED = "sign of use"
    """The excess is significant at a one-sided level of 5%."""
    NO_SIGN = "no sign of use"
    """The excess isn't significant, which is no proof that the collection was not used."""
    CANNOT_TELL = "can't tell"


@dataclass(frozen=True)
class Answer:
    """The verdict, and the figures that it rests on."""

    verdict: Verdict
    excess: Excess | None
    """None where one can't tell, so that nobody takes it for an answer."""
    blind_auc: float
    """AUC of a classifier that never sees the model, on the collection against the references."""
    blind_ci95: Interval


def answer(kind: Kind, found: Contrast, control: Contrast | None, blind: Contrast) -> Answer:
    """Answer whether a collection was used, unless it and the references differ too much to be compared.

    What is expected without membership is what the control shows. Except for augmented surrogates it is also what the
    baseline shows, if its AUC is above ½: below it is chance.

    Args:
        kind: of the surrogates.
        found: the attack's contrast between the collection and its surrogates.
        control: the attack's contrast between the references and theirs; None where the references are the surrogates.
        blind: the baseline, a cross-fitted classifier that never sees the model, on the collection and the references.

    Raises:
        UserError: for a score that is not finite, or an empty set.
    """
    auc = float(placements(blind.scores, blind.first)[0].mean())
    interval = auc_interval(blind.scores, blind.first)
    if interval[1] > MOST_BLIND[kind]:
        return Answer(Verdict.CANNOT_TELL, None, auc, interval)
    baseline = [blind] if auc > 0.5 and kind != "augmented" else []
    judged = excess(found, [*([control] if control else []), *baseline])
    return Answer(Verdict.USED if judged.p_value <= LEVEL else Verdict.NO_SIGN, judged, auc, interval)
