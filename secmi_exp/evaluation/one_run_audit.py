"""The audit of one training run: which samples to guess, how many guesses are right, and what that refutes.

An attack guesses the samples with the highest scores to be members and those with the lowest to be hold-outs, and
abstains from the rest (Steinke, Nasr and Jagielski 2023, section 5). Their number is chosen on other samples, or by a
fixed rule where there are few of those: chosen on the audited ones, it would make the bound too high.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from secmi_exp.evaluation.gaussian_privacy import gaussian_epsilon, largest_refuted_mu
from secmi_exp.evaluation.one_run import one_run_epsilon, one_run_p_value
from secmi_exp.evaluation.scored import Scored, sides

FEWEST_A_SIDE = 10
"""Other samples of each side that a choice needs."""
FEWEST_GUESSES = 5
"""Other samples among which the share of right guesses is measured, at least."""
FIXED_SHARE = 0.1
"""Share of the samples that the fixed rule guesses on either side."""
CANDIDATES = 14
"""Numbers of guesses on either side that a choice is made from, at most."""


class Membership(StrEnum):
    """How the audited samples became members; the theorems behind a one-run audit need fair coins."""

    COINS = "fair_coins"
    """Each by a fair coin of its own."""
    DRAWN = "random_half"
    """A random half of fixed size: near to fair coins, and no theorem covers it."""
    GROUPED = "random_groups"
    """At random, but groups of samples together: no theorem covers it, and no bound of one run is stated."""
    STATED = "stated"
    """As a dataset or a file states it: the bound holds as far as it was by chance."""

    @property
    def assumption(self) -> str:
        """What a reader of the bounds must know, as a sentence."""
        match self:
            case Membership.COINS:
                return "Each image was a member by a fair coin of its own, as the theorems ask for."
            case Membership.DRAWN:
                return "The members are a random half of fixed size, near to the fair coins that the theorems ask for."
            case Membership.GROUPED:
                return "Images that look alike became members together, and the theorems ask for a coin for each."
            case Membership.STATED:
                return "Valid only if the members were picked by fair coins, which the data doesn't say."


@dataclass(frozen=True)
class Guesses:
    """How many samples are guessed."""

    members: int
    """Number of samples with the highest scores that are guessed to be members."""
    holdouts: int
    """Number of samples with the lowest scores that are guessed to be hold-outs."""
    chosen: bool
    """Whether their numbers were chosen on other samples; otherwise by the fixed rule."""

    @property
    def count(self) -> int:
        """Number of guesses, of both kinds."""
        return self.members + self.holdouts


@dataclass(frozen=True)
class OneRunAudit:
    """What the most confident guesses refute."""

    guesses: Guesses
    correct: int
    samples: int
    epsilon: float
    """The largest ε that they refute, for any (ε, δ)-private training; see `one_run_epsilon`."""
    mu: float
    """The largest μ that they refute, for a training whose trade-off curve is Gaussian; see `largest_refuted_mu`."""
    gaussian_epsilon: float
    """ε of μ-GDP at δ; ∞ at δ = 0 and μ > 0."""


def audit(evaluation: Scored, calibration: Scored, *, delta: float, confidence: float = 0.95) -> OneRunAudit:
    """Guess the most confident samples, as many as other samples let expect the highest bound for.

    Args:
        evaluation: the audited samples, whose membership was drawn by fair coins.
        calibration: samples of the same target, none of them audited.
        delta: in [0, 1).
        confidence: in (0, 1), of each bound by itself.

    Raises:
        UserError: for scores that can't be judged, or a setting out of range.
    """
    samples = len(evaluation.scores)
    guesses = choose_guesses(calibration, samples, delta=delta, confidence=confidence)
    correct = count_correct(evaluation, guesses)
    mu = largest_refuted_mu(correct, guesses.count, samples, confidence=confidence)
    return OneRunAudit(
        guesses=guesses,
        correct=correct,
        samples=samples,
        epsilon=one_run_epsilon(correct, guesses.count, samples, delta=delta, confidence=confidence),
        mu=mu,
        gaussian_epsilon=gaussian_epsilon(mu, delta),
    )


def choose_guesses(calibration: Scored, samples: int, *, delta: float, confidence: float = 0.95) -> Guesses:
    """The numbers of guesses that promise the highest ε, by the share of right ones among other samples.

    The share is (right + 1) / (guessed + 2), so that a few lucky guesses promise little. Where no choice promises an ε
    above 0, it is the one with the smallest p-value of ε = 0 at δ = 0.

    Args:
        calibration: the other samples.
        samples: number of audited samples.
        delta: in [0, 1).
        confidence: in (0, 1).

    Raises:
        UserError: for scores that can't be judged, or a setting out of range.
    """
    members, holdouts = sides(calibration.scores, calibration.is_member)
    if min(len(members), len(holdouts)) < FEWEST_A_SIDE:
        each = max(1, round(FIXED_SHARE * samples))
        return Guesses(each, each, chosen=False)
    is_member = calibration.is_member[ascending(calibration.scores)]
    n = len(is_member)
    right_members = np.concatenate([[0], np.cumsum(is_member[::-1])])
    right_holdouts = np.concatenate([[0], np.cumsum(~is_member)])
    numbers = [0, *np.unique(np.geomspace(FEWEST_GUESSES, n, CANDIDATES - 1).astype(int)).tolist()]
    best, best_epsilon, best_p_value = Guesses(0, 0, chosen=True), 0.0, np.inf
    for high in numbers:
        for low in numbers:
            if not FEWEST_GUESSES <= high + low <= n:
                continue
            candidate = Guesses(high * samples // n, low * samples // n, chosen=True)
            share = (right_members[high] + right_holdouts[low] + 1) / (high + low + 2)
            correct = int(share * candidate.count)
            without_delta = one_run_p_value(correct, candidate.count, samples, best_epsilon)  # no larger, and quick
            if without_delta <= 1.0 - confidence:
                epsilon = one_run_epsilon(correct, candidate.count, samples, delta=delta, confidence=confidence)
                if epsilon > best_epsilon:
                    best, best_epsilon, best_p_value = candidate, epsilon, 0.0
                    continue
            if without_delta < best_p_value:
                best, best_p_value = candidate, without_delta
    return best


def count_correct(evaluation: Scored, guesses: Guesses) -> int:
    """Right guesses.

    Args:
        evaluation: at least as many samples as guesses.
        guesses: numbers of guesses of both kinds.

    >>> scored = Scored(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]))
    >>> count_correct(scored, Guesses(1, 1, chosen=False)), count_correct(scored, Guesses(2, 2, chosen=False))
    (2, 2)
    """
    is_member = evaluation.is_member[ascending(evaluation.scores)]
    high, low = is_member[len(is_member) - guesses.members :], is_member[: guesses.holdouts]
    return int(high.sum() + (~low).sum())


def ascending(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rows by ascending score, [n]; equal scores in an order that neither rows nor labels decide."""
    order: NDArray[np.int64] = np.lexsort((np.random.default_rng(0).permutation(len(scores)), scores))
    return order
