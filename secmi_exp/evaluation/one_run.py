"""A lower bound on ε from one training whose samples were members or hold-outs by fair coins.

Steinke, Nasr and Jagielski 2023, "Privacy auditing with one (1) training run": of r guesses among m samples, an
(ε, δ)-private training lets at most about a share of 1/(1 + e^−ε) be right, whatever the samples have to do with each
other. The guesses may depend on all scores, not on the coins of the samples that are guessed.
"""

import math

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.distributions import binomial_cdf, binomial_tail

NEGLIGIBLE_BEYOND = 12.0, 50.0
"""Standard deviations, and counts in addition, below a binomial's mean: less than 1e-25 lies there, however skewed."""


def one_run_p_value(correct: int, guesses: int, samples: int, epsilon: float, *, delta: float = 0.0) -> float:
    """P(at least so many correct guesses) that an (ε, δ)-private training could allow, at most.

    Steinke et al. 2023, theorem 5.2, with S ~ Binomial(guesses, 1/(1 + e^−ε)), v correct guesses and m samples:
    P(S ≥ v) + 2 m δ · max over i ≥ 1 of P(v − i ≤ S < v)/i.

    Args:
        correct: right guesses.
        guesses: samples guessed to be members or hold-outs; an attack may abstain from the rest.
        samples: samples whose membership was drawn, guessed or not.
        epsilon: ≥ 0.
        delta: in [0, 1).

    Raises:
        UserError: for impossible counts.
    """
    refuse_impossible_counts(correct, guesses, samples)
    if correct == 0:
        return 1.0
    right = 1.0 / (1.0 + math.exp(-epsilon))
    tail = binomial_tail(correct, guesses, right)
    if delta == 0.0:
        return tail
    reach = NEGLIGIBLE_BEYOND[0] * math.sqrt(guesses * right * (1.0 - right)) + NEGLIGIBLE_BEYOND[1]
    least = min(max(0, int(guesses * right - reach)), correct - 1)
    up_to = binomial_cdf(np.arange(least, correct), guesses, right)  # P(S ≤ least), …, P(S ≤ v − 1)
    within = up_to[-1] - np.append(up_to[-2::-1], 0.0)  # P(v − i ≤ S < v) for i = 1, …, v − least; no larger i matters
    return min(1.0, tail + 2.0 * samples * delta * float((within / np.arange(1, correct - least + 1)).max()))


def one_run_epsilon(correct: int, guesses: int, samples: int, *, delta: float = 0.0, confidence: float = 0.95) -> float:
    """The largest ε that so many correct guesses refute: ``one_run_p_value`` ≤ 1 − confidence below it.

    Args:
        correct: right guesses, at thresholds chosen without the labels of these samples.
        guesses: samples guessed to be members or hold-outs.
        samples: samples whose membership was drawn by fair coins.
        delta: in [0, 1).
        confidence: in (0, 1).

    Returns:
        ≥ 0, by bisection to 1e-6.

    Raises:
        UserError: for impossible counts, or a setting out of range.

    >>> round(one_run_epsilon(900, 1000, 1000), 3)
    2.021
    """
    refuse_impossible_levels(delta, confidence)
    if one_run_p_value(correct, guesses, samples, 0.0, delta=delta) > 1.0 - confidence:
        return 0.0
    low, high = 0.0, 50.0  # at 50, e^−ε × guesses is below any p-value
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        refuted = one_run_p_value(correct, guesses, samples, middle, delta=delta) <= 1.0 - confidence
        low, high = (middle, high) if refuted else (low, middle)
    return low


def refuse_impossible_counts(correct: int, guesses: int, samples: int) -> None:
    """Refuse other counts than 0 ≤ correct ≤ guesses ≤ samples.

    Raises:
        UserError: with the counts.
    """
    if not 0 <= correct <= guesses <= samples:
        raise UserError(f"Correct guesses ≤ guesses ≤ samples, not {correct}, {guesses}, {samples}.")


def refuse_impossible_levels(delta: float, confidence: float) -> None:
    """Refuse a δ outside of [0, 1), and a confidence outside of (0, 1).

    Raises:
        UserError: with the value.
    """
    if not 0.0 <= delta < 1.0:
        raise UserError(f"δ lies between 0 and 1, not at {delta:g}.")
    if not 0.0 < confidence < 1.0:
        raise UserError(f"A confidence lies between 0 and 1, not {confidence:g}.")
