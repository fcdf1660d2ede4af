"""The one-run bound for Gaussian trade-off curves against closed forms, a linear program and simulated mechanisms."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from secmi_exp.errors import UserError
from secmi_exp.evaluation.gaussian_privacy import gaussian_delta, gaussian_epsilon, largest_refuted_mu, refuted
from secmi_exp.evaluation.one_run import one_run_epsilon
from tests.support.gaussian_mechanisms import right_guesses


def largest_probability(correct: int, guesses: int, samples: int, mu: float) -> float:
    """The largest P(that many right guesses) that the theorem's inequalities allow, as a linear program.

    Variables are p_0 … p_g; the concave curve is the least of its tangents.
    """
    at = stats.norm.cdf(np.linspace(-6, 6, 400))
    value = stats.norm.cdf(stats.norm.ppf(at) + mu)
    slope = np.exp(stats.norm.logpdf(stats.norm.ppf(at) + mu) - stats.norm.logpdf(stats.norm.ppf(at)))
    i = np.arange(guesses + 1)
    rows, limits = [], []
    for start in range(guesses):
        right = np.where(i > start, i / samples, 0.0)
        wrong = np.where(i >= start, (guesses - i) / samples, 0.0)
        rows.append(right - slope[:, None] * wrong)
        limits.append(value - slope * at)
    found = optimize.linprog(
        -(i >= correct).astype(float), np.concatenate(rows), np.concatenate(limits), np.ones((1, guesses + 1)), [1.0]
    )
    return float(-found.fun)


@pytest.mark.parametrize(("correct", "guesses", "samples"), [(4, 4, 4), (5, 6, 6), (7, 8, 12), (6, 8, 8)])
def test_recursion_decides_as_the_linear_program_of_the_theorem(correct: int, guesses: int, samples: int) -> None:
    largest = largest_probability(correct, guesses, samples, 0.7)
    assert 0.0 < largest < 1.0
    assert refuted(correct, guesses, samples, 0.7, confidence=1 - 1.02 * largest)
    assert not refuted(correct, guesses, samples, 0.7, confidence=1 - 0.98 * largest)


@pytest.mark.parametrize("mu", [0.0, 0.5, 2.0])
def test_one_guess_of_one_sample_is_right_with_the_probability_of_the_best_test(mu: float) -> None:
    best = stats.norm.cdf(mu / 2)
    assert refuted(1, 1, 1, mu, confidence=1 - best - 0.001)
    assert not refuted(1, 1, 1, mu, confidence=1 - best + 0.001)


@pytest.mark.parametrize("n", [5, 20, 40])
def test_without_a_leak_all_guesses_are_right_with_the_probability_of_coins(n: int) -> None:
    assert refuted(n, n, n, 0.0, confidence=1 - 1.01 * 0.5**n)
    assert not refuted(n, n, n, 0.0, confidence=1 - 0.99 * 0.5**n)


def test_guessing_refutes_nothing_and_perfect_guesses_refute_more_the_more_there_are() -> None:
    assert largest_refuted_mu(0, 100, 100) == largest_refuted_mu(50, 100, 100) == 0.0
    perfect = [largest_refuted_mu(n, n, n) for n in (5, 20, 100, 400)]
    assert perfect == sorted(perfect)
    assert perfect[0] > 0.0
    assert gaussian_epsilon(perfect[-1], 1e-5) > one_run_epsilon(400, 400, 400, delta=1e-5) > 4.0


def test_epsilon_is_where_the_mechanism_has_delta() -> None:
    for mu, delta in ((0.3, 1e-5), (1.0, 1e-5), (4.0, 1e-9), (12.0, 1e-2)):
        assert gaussian_delta(mu, gaussian_epsilon(mu, delta)) == pytest.approx(delta, rel=1e-4)
    assert gaussian_epsilon(0.0, 1e-5) == 0.0
    assert gaussian_epsilon(0.1, 0.5) == 0.0
    assert math.isinf(gaussian_epsilon(1.0, 0.0))


@pytest.mark.parametrize(("samples", "each"), [(100, 50), (100, 15), (300, 40)])
def test_bounds_lie_above_the_truth_of_gaussian_mechanisms_no_more_often_than_they_say(samples: int, each: int) -> None:
    rng, runs, delta = np.random.default_rng(0), 1000, 1e-5
    for mu in (0.25, 1.0, 2.0, 3.5):
        counts, times = np.unique(right_guesses(rng, runs, samples, mu, each), return_counts=True)
        guesses, truth = 2 * each, gaussian_epsilon(mu, delta)
        above = [one_run_epsilon(int(count), guesses, samples, delta=delta) > truth for count in counts]
        refutes = [refuted(int(count), guesses, samples, mu) for count in counts]
        for missed in (above, refutes):
            assert times[missed].sum() <= runs * 0.05 + 2 * math.sqrt(runs * 0.05 * 0.95)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(UserError, match="not 3, 2, 2"):
        refuted(3, 2, 2, 0.0)
