"""A gate: limits on what an attack finds, and whether the judged images show that they are kept.

A limit is judged by the two-sided 95% interval of its metric. It is exceeded where the whole interval lies above it,
kept where the interval's upper end is at or below it, and undecided where the interval contains it, so that each of the
first two answers is wrong for at most 2.5% of the samples, as far as the interval holds its level.

With k comparisons (limits × scorers × runs) the worst outcome decides:

- A pass needs all of them. A target that breaks any of the limits is passed with a probability of at most 2.5%, however
  many there are (an intersection–union test: Berger 1982, Technometrics 24).
- One of them is enough to fail. A target that keeps all limits is failed with a probability of at most k · 2.5%
  (Bonferroni).

Both are statements about these attacks: another attack may find more.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from secmi_exp.evaluation.confusion import Confusion
from secmi_exp.evaluation.judge import Judgement
from secmi_exp.evaluation.operating_points import tpr_metric
from secmi_exp.evaluation.privacy_bound import PrivacyBound, epsilon_from_counts
from secmi_exp.evaluation.proportions import lower_bound
from secmi_exp.evaluation.scored import Scored

LEVEL = 0.025
"""Probability of a wrong answer to one comparison, at most."""

TPR_AT = 0.01
"""False-positive rate of ``max_tpr_at_1pct``."""


class Outcome(StrEnum):
    """How a comparison ends; a gate ends as the worst of its comparisons does."""

    PASSED = "passed"
    UNDECIDED = "undecided"
    FAILED = "failed"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Limits:
    """The settings below ``gate`` in ``conf/config.yaml``; None for no limit."""

    max_auc: Annotated[float, Field(ge=0, le=1)] | None
    max_tpr_at_1pct: Annotated[float, Field(ge=0, le=1)] | None
    max_epsilon: Annotated[float, Field(ge=0)] | None
    max_extracted: Annotated[int, Field(ge=0)] | None = None

    @property
    def given(self) -> dict[str, float]:
        """Name → limit, of those that are set."""
        return {each.name: limit for each in fields(self) if (limit := getattr(self, each.name)) is not None}


@dataclass(frozen=True)
class Measured:
    """A metric with the interval that it is judged by."""

    value: float | None
    """None where it is not resolved, or not finite."""
    low: float | None = None
    """None where it is not resolved."""
    high: float | None = None
    """None where there is no upper end."""
    unresolved: str = ""
    """Why there is no number."""


@dataclass(frozen=True)
class Comparison:
    """One limit and what one scorer found."""

    scorer: str
    limit: str
    """Name of the setting below ``gate``."""
    maximum: float
    measured: Measured
    outcome: Outcome
    reason: str = ""
    """Why it is undecided; empty where it isn't."""


@dataclass(frozen=True)
class Decision:
    """What a gate decides on a run."""

    comparisons: tuple[Comparison, ...]

    @property
    def outcome(self) -> Outcome:
        """The worst of the comparisons'."""
        return worst(each.outcome for each in self.comparisons)


@dataclass(frozen=True)
class Accounted:
    """ε and δ that a differentially private training has spent, by its accountant."""

    epsilon: float
    delta: float


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of several: failed before undecided before passed.

    >>> worst([Outcome.PASSED, Outcome.FAILED, Outcome.UNDECIDED]).value
    'failed'
    """
    return max(outcomes, key=list(Outcome).index, default=Outcome.PASSED)


def decide(
    limits: Limits,
    scorer: str,
    judgement: Judgement,
    evaluated: Scored,
    bound: PrivacyBound | None,
    *,
    accounted: Accounted | None = None,
    extracted: int | None = None,
    doubt: str = "",
) -> list[Comparison]:
    """Compare what one scorer found with each limit that is set.

    Args:
        limits: limits of the gate.
        scorer: name of the scorer.
        judgement: metrics of the scorer.
        evaluated: scores that it was judged on.
        bound: its bound on ε; None where no images were left to calibrate a threshold on.
        accounted: privacy that the target's training has spent, if it was differentially private.
        extracted: members that samples copy; None where nobody has looked.
        doubt: why the figures are no measure of a leak; nothing is decided then. Empty where they are.
    """
    measures = {
        "max_auc": lambda: _auc(judgement),
        "max_tpr_at_1pct": lambda: _low_tpr(judgement),
        "max_epsilon": lambda: _epsilon_shown(judgement, evaluated, bound, accounted),
        "max_extracted": lambda: _count(extracted),
    }
    return [_compared(scorer, name, maximum, measures[name](), doubt) for name, maximum in limits.given.items()]


def _compared(scorer: str, limit: str, maximum: float, measured: Measured, doubt: str) -> Comparison:
    if doubt:
        return Comparison(scorer, limit, maximum, measured, Outcome.UNDECIDED, doubt)
    if measured.low is None:
        return Comparison(scorer, limit, maximum, measured, Outcome.UNDECIDED, measured.unresolved)
    if measured.low > maximum:
        return Comparison(scorer, limit, maximum, measured, Outcome.FAILED)
    if measured.high is not None and measured.high <= maximum:
        return Comparison(scorer, limit, maximum, measured, Outcome.PASSED)
    return Comparison(scorer, limit, maximum, measured, Outcome.UNDECIDED, "the interval contains the limit")


def _count(extracted: int | None) -> Measured:
    """A count of what was found, which has no error; others may be found with more samples."""
    if extracted is None:
        return Measured(None, unresolved="nobody has compared samples of the target with the images")
    return Measured(extracted, extracted, extracted)


def _auc(judgement: Judgement) -> Measured:
    interval = judgement.ci95["auc"]
    assert interval
    return Measured(judgement.metrics["auc"], *interval)


def _low_tpr(judgement: Judgement) -> Measured:
    """The bootstrap interval, which lets the threshold vary, widened to that of `OperatingPoint`.

    Where no member is detected the bootstrap's interval is [0, 0], which would pass any limit.
    """
    name = tpr_metric(TPR_AT)
    resampled, point = judgement.ci95[name], judgement.operating_points.get(name)
    if resampled is None or point is None:
        return Measured(None, unresolved=judgement.unresolved.get(name, "it was not measured"))
    low, high = point.tpr_interval
    return Measured(judgement.metrics[name], min(low, resampled[0]), max(high, resampled[1]))


def _epsilon_shown(
    judgement: Judgement, evaluated: Scored, bound: PrivacyBound | None, accounted: Accounted | None
) -> Measured:
    """The interval of ε at the bound's own threshold.

    Where no threshold shows any ε on the calibration part, that threshold calls no sample a member; the most accurate
    one of the calibration part stands in.
    """
    if bound is None:
        return Measured(None, unresolved="no images are left to calibrate a threshold on")
    threshold = bound.threshold if math.isfinite(bound.threshold) else judgement.thresholds["calibrated"]
    counts = Confusion.at(evaluated.scores, evaluated.is_member, threshold)
    return epsilon_interval(counts, bound.delta, accounted)


def epsilon_interval(outcome: Confusion, delta: float, accounted: Accounted | None = None) -> Measured:
    """The ε that an attack's rates show, max(log((1 − δ − FNR)/FPR), log((1 − δ − FPR)/FNR), 0), with its interval.

    Either end has the Clopper–Pearson bounds of both rates, each at half of its 2.5%. Images count as independent
    draws, as they do for the AUC's interval. What the training's own accountant allows at no larger δ ends the interval
    from above, unless the attack refutes it.

    Args:
        outcome: counts at a threshold that was chosen without these samples.
        delta: in [0, 1).
        accounted: privacy that the training has spent.

    >>> measured = epsilon_interval(Confusion(500, 500, 1000, 1000), 0.0)  # guessing
    >>> measured.value, measured.low, round(measured.high, 2)
    (0.0, 0.0, 0.14)
    >>> epsilon_interval(Confusion(10, 0, 100, 100), 0.0).high is None  # no false positive: any ε is possible
    True
    """
    errors = (outcome.false_positives, outcome.n_holdout), (outcome.false_negatives, outcome.n_member)
    low = float(epsilon_from_counts(*errors[0], *errors[1], delta=delta, confidence=1.0 - LEVEL))
    value = _epsilon([count / total for count, total in errors], delta)
    high = _epsilon([float(lower_bound(*each, confidence=1.0 - LEVEL / 2.0)) for each in errors], delta)
    if accounted and accounted.delta <= delta and low <= accounted.epsilon < high:
        high = accounted.epsilon
    return Measured(_finite(value), low, _finite(high))


def _epsilon(rates: Sequence[float], delta: float) -> float:
    """The ε of a false-positive and a false-negative rate; infinite where it has no bound."""
    fpr, fnr = rates
    ratios = [
        others / rate if rate else (math.inf if others > 0.0 else 0.0)
        for others, rate in ((1.0 - delta - fnr, fpr), (1.0 - delta - fpr, fnr))
    ]
    return math.log(max(1.0, *ratios))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
