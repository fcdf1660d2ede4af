"""Clopper–Pearson intervals against scipy, a published value and the exact coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from secmi_exp.errors import UserError
from secmi_exp.evaluation.proportions import clopper_pearson, interval_of_mean, lower_bound, upper_bound


@given(trials=st.integers(1, 3000), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.999]))
def test_interval_is_that_of_the_exact_binomial_test(trials: int, share: float, confidence: float) -> None:
    successes = round(share * trials)
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, "exact")
    assert clopper_pearson(successes, trials, confidence=confidence) == pytest.approx(tuple(expected), abs=1e-9)


def test_interval_of_ten_in_a_hundred_is_the_published_one() -> None:
    assert clopper_pearson(10, 100) == pytest.approx((0.0490, 0.1762), abs=5e-5)


@pytest.mark.parametrize("trials", [1, 7, 40])
def test_coverage_is_at_least_nominal_for_every_proportion(trials: int) -> None:
    proportions = np.linspace(0.0, 1.0, 401)[:, None]
    ends = np.array([clopper_pearson(k, trials) for k in range(trials + 1)])
    covered = (ends[:, 0] <= proportions) & (proportions <= ends[:, 1])
    coverage = (stats.binom.pmf(np.arange(trials + 1), trials, proportions) * covered).sum(axis=1)
    assert coverage.min() >= 0.95 - 1e-12


def test_one_sided_bounds_miss_at_most_as_often_as_they_say() -> None:
    proportions = np.linspace(0.0, 1.0, 401)[:, None]
    weights = stats.binom.pmf(np.arange(31), 30, proportions)
    high = (weights * (upper_bound(np.arange(31), 30, confidence=0.9) >= proportions)).sum(axis=1)
    low = (weights * (lower_bound(np.arange(31), 30, confidence=0.9) <= proportions)).sum(axis=1)
    assert min(high.min(), low.min()) >= 0.9 - 1e-12
    assert min(high.min(), low.min()) < 0.905  # exact, not merely safe


def test_interval_of_a_mean_of_equal_sizes_is_that_of_both_together() -> None:
    assert interval_of_mean((9, 20), (17, 20)) == pytest.approx(clopper_pearson(26, 40))
    assert interval_of_mean((0, 20), (0, 30))[0] == 0.0
    assert interval_of_mean((20, 20), (30, 30))[1] == 1.0


@pytest.mark.parametrize("sizes", [(15, 15), (12, 40), (30, 6)])
def test_interval_of_a_mean_of_two_covers_at_least_at_its_nominal_rate(sizes: tuple[int, int]) -> None:
    first, second = sizes
    ends = np.array(
        [
            [interval_of_mean((k, first), (j, second), confidence=0.95) for j in range(second + 1)]
            for k in range(first + 1)
        ]
    )
    coverage = []
    for p in np.linspace(0.02, 0.98, 13):
        for q in np.linspace(0.02, 0.98, 13):
            covered = (ends[..., 0] <= (p + q) / 2) & ((p + q) / 2 <= ends[..., 1])
            weights = np.outer(
                stats.binom.pmf(np.arange(first + 1), first, p), stats.binom.pmf(np.arange(second + 1), second, q)
            )
            coverage.append((weights * covered).sum())
    assert min(coverage) >= 0.95


@pytest.mark.parametrize(
    ("successes", "trials", "confidence", "message"),
    [(3, 2, 0.95, "3.0 of 2.0"), (0, 0, 0.95, "at least one trial"), (1, 2, 1.0, "between 0 and 1, not 1")],
)
def test_impossible_counts_are_refused(successes: int, trials: int, confidence: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lower_bound(successes, trials, confidence=confidence)
