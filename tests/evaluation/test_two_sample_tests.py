"""The tests of two samples give scipy's p-values, for samples of any size, with and without ties."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from secmi_exp.evaluation.multiple_testing import benjamini_hochberg
from secmi_exp.evaluation.two_sample_tests import mann_whitney_greater, welch_greater

TIED = arrays(np.float64, st.integers(2, 12), elements=st.integers(-5, 5).map(float))


@given(first=TIED, second=TIED)
def test_with_ties(first: np.ndarray, second: np.ndarray) -> None:
    expected = stats.mannwhitneyu(first, second, alternative="greater").pvalue
    assert mann_whitney_greater(first, second) == pytest.approx(expected, rel=1e-12)
    assume(np.ptp(first) + np.ptp(second) > 0)
    expected = stats.ttest_ind(first, second, equal_var=False, alternative="greater").pvalue
    assert welch_greater(first, second) == pytest.approx(expected, rel=1e-9)


@given(
    m=st.integers(1, 12), n=st.integers(1, 12), seed=st.integers(0, 100), shift=st.sampled_from([-9.0, 0.0, 1.0, 9.0])
)
def test_without_ties(m: int, n: int, seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(shift, size=m), rng.normal(size=n)
    expected = stats.mannwhitneyu(first, second, alternative="greater").pvalue
    assert mann_whitney_greater(first, second) == pytest.approx(expected, rel=1e-9)


def test_few_samples_among_many_are_judged_exactly() -> None:
    """All eight are above all 3,000: one order of C(3008, 8)."""
    first, second = np.arange(8.0) + 3000, np.arange(3000.0)
    assert mann_whitney_greater(first, second) == 1.0 / math.comb(3008, 8)
    assert mann_whitney_greater(-first, second) == 1.0


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1)))
def test_false_discovery_rates(p_values: np.ndarray) -> None:
    np.testing.assert_array_equal(benjamini_hochberg(p_values), stats.false_discovery_control(p_values))
