"""One-run audit of f-differential privacy, for the trade-off curves of Gaussian mechanisms.

Training is f-DP if no test of one image's membership has a true-positive rate above f̄(FPR) = 1 − f(FPR) (Dong, Roth
and Su 2022). Gaussian noise of sensitivity/σ = μ has f̄(x) = Φ(Φ⁻¹(x) + μ), and μ-GDP is what has no higher curve.
Mahloujifar, Melis and Chaudhuri ("Auditing f-differential privacy in one run", ICML 2025) bound how often an f-DP
training allows c or more right guesses. With p_i the probability of exactly i right ones among g guesses, and m samples
whose membership was drawn by fair coins, every i has

    Σ_{j > i} j/m · p_j  ≤  f̄( Σ_{j ≥ i} (g − j)/m · p_j )

as the guess of a sample, right with its coin, is wrong with the coin turned over. `refuted` decides by recursion
whether any p with P(c or more) = 5% fulfils them. Since that holds for every dependence among the samples, μ stays
below what the share of right guesses would give for independent ones, 2 Φ⁻¹(c/g).
"""

import math
from statistics import NormalDist

from secmi_exp.evaluation.one_run import refuse_impossible_counts

quantile = NormalDist().inv_cdf
LARGEST_MU = 40.0
"""Upper end of the search for μ, where ε lies above 800."""


def normal_cdf(x: float) -> float:
    """Φ, to full relative precision in the lower tail, which `NormalDist.cdf` of Python 3.11 lacks.

    >>> normal_cdf(0.0), normal_cdf(-10.0) > 7e-24
    (0.5, True)
    """
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def refuted(correct: int, guesses: int, samples: int, mu: float, *, confidence: float = 0.95) -> bool:
    """Whether μ-GDP allows so many right guesses with a probability of less than 1 − confidence.

    Such probabilities p would start at i = c with p_c = 1 − confidence, and have, going down, the least p_i that the
    inequalities allow: any other solution can be changed into this one without a larger sum. They can't be where their
    sum exceeds 1. With r_i = Σ_{j ≥ i} j/m p_j and h_i = Σ_{j ≥ i} (g − j)/m p_j, whose sum is g/m Σ_{j ≥ i} p_j:
    h_i = max(h_{i+1}, f̄⁻¹(r_{i+1})), r_i = r_{i+1} + i/(g − i) (h_i − h_{i+1}).

    Args:
        correct: right guesses, c.
        guesses: samples guessed to be members or hold-outs, g.
        samples: samples whose membership was drawn, m.
        mu: ≥ 0.
        confidence: in (0, 1).

    Raises:
        UserError: for impossible counts.

    >>> refuted(5, 5, 5, 0.0), refuted(4, 4, 4, 0.0)  # without any leak, P(5 of 5) = 1/32 and P(4 of 4) = 1/16
    (True, False)
    """
    refuse_impossible_counts(correct, guesses, samples)
    if correct == 0:
        return False
    all_guesses = guesses / samples
    right = (1.0 - confidence) * correct / samples
    wrong = (1.0 - confidence) * (guesses - correct) / samples
    for i in range(correct - 1, -1, -1):
        if right >= 1.0:
            return True
        needed = max(wrong, normal_cdf(quantile(right) - mu))
        right, wrong = right + i / (guesses - i) * (needed - wrong), needed
        if right + wrong > all_guesses:
            return True
    return False


def largest_refuted_mu(correct: int, guesses: int, samples: int, *, confidence: float = 0.95) -> float:
    """The largest μ that so many right guesses refute; see `refuted` for the arguments.

    Returns:
        ≥ 0, by bisection to 1e-4, at most 40.

    Raises:
        UserError: for impossible counts.

    >>> largest_refuted_mu(50, 100, 100)
    0.0
    >>> round(largest_refuted_mu(90, 100, 100), 2), round(largest_refuted_mu(100, 100, 100), 2)
    (0.84, 1.7)
    """
    if not refuted(correct, guesses, samples, 0.0, confidence=confidence):
        return 0.0
    low, high = 0.0, LARGEST_MU
    while high - low > 1e-4:
        middle = (low + high) / 2.0
        is_refuted = refuted(correct, guesses, samples, middle, confidence=confidence)
        low, high = (middle, high) if is_refuted else (low, middle)
    return low


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Least δ at which μ-GDP is (ε, δ)-DP: Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ) (Balle and Wang 2018, theorem 8)."""
    second = normal_cdf(-mu / 2.0 - epsilon / mu)
    return normal_cdf(mu / 2.0 - epsilon / mu) - (math.exp(epsilon + math.log(second)) if second > 0.0 else 0.0)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Least ε ≥ 0 at which μ-GDP is (ε, δ)-DP.

    Args:
        mu: ≥ 0.
        delta: in [0, 1).

    Returns:
        By bisection to 1e-6; ∞ at δ = 0, where no Gaussian mechanism has a finite ε.

    >>> round(gaussian_epsilon(1.0, 1e-5), 3)
    4.377
    >>> gaussian_epsilon(1.0, 0.0), gaussian_epsilon(0.0, 0.0)
    (inf, 0.0)
    """
    if mu == 0.0:
        return 0.0
    if delta == 0.0:
        return math.inf
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    low, high = 0.0, mu * (mu / 2.0 - quantile(delta))  # where the first term alone is δ
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        low, high = (middle, high) if gaussian_delta(mu, middle) > delta else (low, middle)
    return high
