"""Lower bounds on the ε of (ε, δ)-differential privacy, from what an attack got right.

An (ε, δ)-private training keeps every attack to 1 − FNR ≤ e^ε FPR + δ and 1 − FPR ≤ e^ε FNR + δ (Kairouz, Oh and
Viswanath 2015), so rates that break them refute the claim. Two ways of counting:

- ``epsilon_from_counts`` and what is made of it take each outcome as a trial of its own with the same error rates:
  Jagielski, Ullman and Oprea 2020 ("Auditing differentially private machine learning"), Nasr et al. 2021 ("Adversary
  instantiation"). That is exact where each trial trains a target of its own. The samples of one target share its
  training, and then the bound is an estimate under the assumption that they don't influence each other.
- `one_run` needs no such assumption, but that each sample's membership was drawn by a fair coin of its own; a random
  half is close to that, a given list of members isn't. It is the weaker bound, and the one to claim from a single
  target; `one_run_audit` makes it from the most confident guesses.

A bound of 0 doesn't show privacy. A threshold chosen on the samples that are judged would make the bound too high, so
it comes from others.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from secmi_exp.evaluation.confusion import Confusion
from secmi_exp.evaluation.one_run import one_run_epsilon, refuse_impossible_levels
from secmi_exp.evaluation.one_run_audit import Membership, OneRunAudit, audit
from secmi_exp.evaluation.proportions import upper_bound
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Floats, Scored, sides

CONFIDENCE = 0.95
"""Confidence of each bound by itself."""


@dataclass(frozen=True)
class PrivacyBound:
    """P(the true ε is below ``epsilon``) ≤ 1 − confidence."""

    epsilon: float
    """≥ 0."""
    delta: float
    confidence: float
    threshold: float
    """Threshold on scores at which the judged samples were called members."""
    outcome: Confusion
    """Counts of the judged samples at this threshold."""
    one_run: float | None
    """The bound of `one_run_epsilon`, all samples guessed at the threshold that is most accurate on others; None where
    more hold-outs than members are judged or samples became members in groups: no fair coins, nor near to them."""
    audit: OneRunAudit | None
    """The bounds from the most confident guesses; None where ``one_run`` is."""
    membership: Membership
    """What ``one_run`` and ``audit`` rest on."""


def epsilon_from_counts(
    false_positives: ArrayLike,
    n_holdout: ArrayLike,
    false_negatives: ArrayLike,
    n_member: ArrayLike,
    *,
    delta: float = 0.0,
    confidence: float = 0.95,
) -> Floats:
    """ε ≥ max(log((1 − δ − FNR⁺)/FPR⁺), log((1 − δ − FPR⁺)/FNR⁺), 0).

    FPR⁺ and FNR⁺ are one-sided Clopper–Pearson upper bounds, each at 1 − (1 − confidence)/2: together they hold with
    the confidence named.

    Args:
        false_positives: hold-outs called members; all counts broadcast.
        n_holdout: hold-outs.
        false_negatives: members not called members.
        n_member: members.
        delta: in [0, 1).
        confidence: in (0, 1).

    Raises:
        UserError: for impossible counts, or a setting out of range.

    >>> float(epsilon_from_counts(0, 1000, 0, 1000).round(2))  # a perfect attack on 1,000 + 1,000
    5.6
    >>> float(epsilon_from_counts(50, 100, 50, 100))  # guessing
    0.0
    """
    refuse_impossible_levels(delta, confidence)
    one_sided = 1.0 - (1.0 - confidence) / 2.0
    fpr = upper_bound(false_positives, n_holdout, confidence=one_sided)
    fnr = upper_bound(false_negatives, n_member, confidence=one_sided)
    ratio = np.maximum((1.0 - delta - fnr) / fpr, (1.0 - delta - fpr) / fnr)
    return np.asarray(np.log(np.maximum(ratio, 1.0)))


def epsilon_of(outcome: Confusion, *, delta: float = 0.0, confidence: float = 0.95) -> float:
    """`epsilon_from_counts` of one outcome, at a threshold that was chosen without its samples."""
    errors, sizes = (outcome.false_positives, outcome.false_negatives), (outcome.n_holdout, outcome.n_member)
    return float(epsilon_from_counts(errors[0], sizes[0], errors[1], sizes[1], delta=delta, confidence=confidence))


def highest_bound(scored: Scored, *, delta: float = 0.0, confidence: float = 0.95) -> tuple[float, float]:
    """The highest bound that any threshold gives, which is too high by that choice, and the threshold, for others.

    Raises:
        UserError: for scores that can't be judged, or a setting out of range.
    """
    roc = Roc.from_scores(scored.scores, scored.is_member)
    members, holdouts = sides(scored.scores, scored.is_member)
    false_positives, true_positives = np.rint(roc.fpr * len(holdouts)), np.rint(roc.tpr * len(members))
    epsilons = epsilon_from_counts(
        false_positives,
        len(holdouts),
        len(members) - true_positives,
        len(members),
        delta=delta,
        confidence=confidence,
    )
    best = int(epsilons.argmax())
    return float(epsilons[best]), float(roc.thresholds[best])


def privacy_bound(
    evaluation: Scored, calibration: Scored, *, delta: float = 0.0, membership: Membership = Membership.DRAWN
) -> PrivacyBound:
    """All bounds on ε: each outcome by itself, one run, and the most confident guesses of one run.

    Args:
        evaluation: the judged samples.
        calibration: samples of the same target, none of them judged; thresholds are chosen on them.
        delta: in [0, 1).
        membership: how the judged samples became members.

    Raises:
        UserError: for scores that can't be judged, or a setting out of range.
    """
    threshold = highest_bound(calibration, delta=delta, confidence=CONFIDENCE)[1]
    outcome = Confusion.at(evaluation.scores, evaluation.is_member, threshold)
    one_run = guesses = None
    halves = outcome.n_member == outcome.n_holdout and membership is not Membership.GROUPED
    if halves or membership is Membership.COINS:
        most_accurate, _ = Roc.from_scores(calibration.scores, calibration.is_member).best_threshold()
        guessed, n = Confusion.at(evaluation.scores, evaluation.is_member, most_accurate), len(evaluation.scores)
        correct = guessed.true_positives + guessed.true_negatives
        one_run = one_run_epsilon(correct, n, n, delta=delta, confidence=CONFIDENCE)
        guesses = audit(evaluation, calibration, delta=delta, confidence=CONFIDENCE)
    return PrivacyBound(
        epsilon=epsilon_of(outcome, delta=delta, confidence=CONFIDENCE),
        delta=delta,
        confidence=CONFIDENCE,
        threshold=threshold,
        outcome=outcome,
        one_run=one_run,
        audit=guesses,
        membership=membership,
    )
