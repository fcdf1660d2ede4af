"""What data owners are told, against enumeration, scipy and simulation."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from secmi_exp.errors import UserError
from secmi_exp.evaluation.exposure import (
    Test,
    collection_p_value,
    conformal_p_values,
    leave_one_out_p_values,
    percentiles,
)

TIED = arrays(np.float64, st.integers(2, 20), elements=st.integers(-5, 5).map(float))


@given(scores=TIED, reference=TIED)
def test_percentiles_and_p_values_count_as_defined(scores: np.ndarray, reference: np.ndarray) -> None:
    expected = [(1 + sum(each >= score for each in reference)) / (1 + len(reference)) for score in scores]
    np.testing.assert_allclose(conformal_p_values(scores, reference), expected)
    np.testing.assert_allclose(
        percentiles(scores, reference), [stats.percentileofscore(reference, score, "mean") for score in scores]
    )


@given(reference=TIED)
def test_a_holdout_of_the_reference_is_held_against_the_others(reference: np.ndarray) -> None:
    expected = [conformal_p_values(reference[[row]], np.delete(reference, row))[0] for row in range(len(reference))]
    np.testing.assert_allclose(leave_one_out_p_values(reference), expected)


def test_p_value_of_an_exchangeable_holdout_is_exactly_uniform() -> None:
    """Each of r + 1 hold-outs is as likely as another to be the one in question."""
    holdouts = np.random.default_rng(0).gamma(20, size=20)
    p_values = [conformal_p_values(holdouts[[row]], np.delete(holdouts, row))[0] for row in range(20)]
    np.testing.assert_allclose(sorted(p_values), np.arange(1, 21) / 20)


def test_p_values_of_fresh_holdouts_are_uniform_and_of_members_small() -> None:
    rng = np.random.default_rng(1)
    p_values = np.array([conformal_p_values(rng.normal([0.0, 2.0]), rng.normal(size=999)) for _ in range(2000)])
    assert stats.kstest(p_values[:, 0], "uniform").pvalue > 0.01
    assert (p_values[:, 1] <= 0.05).mean() == pytest.approx(stats.norm.sf(stats.norm.ppf(0.95) - 2.0), abs=0.03)


def test_small_collections_are_judged_by_exact_enumeration() -> None:
    scores, reference = np.array([3.0, 5.0, 9.0]), np.array([1.0, 2.0, 4.0, 6.0])
    pooled = np.concatenate([scores, reference])
    sums = [stats.rankdata(pooled)[list(rows)].sum() for rows in combinations(range(7), 3)]
    expected = np.mean(np.array(sums) >= stats.rankdata(pooled)[:3].sum())
    assert collection_p_value(scores, reference) == pytest.approx(expected)


def test_welchs_test_is_that_of_its_formula() -> None:
    rng = np.random.default_rng(2)
    scores, reference = rng.normal(0.3, 2.0, size=40), rng.normal(size=90)
    parts = scores.var(ddof=1) / 40, reference.var(ddof=1) / 90
    t = (scores.mean() - reference.mean()) / np.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 39 + parts[1] ** 2 / 89)
    assert collection_p_value(scores, reference, test="welch") == pytest.approx(stats.t.sf(t, freedom))


@pytest.mark.parametrize("test", ["mann_whitney", "welch"])
def test_collections_that_were_not_trained_on_are_accused_as_seldom_as_stated(test: Test) -> None:
    rng = np.random.default_rng(3)
    p_values = [collection_p_value(-rng.gamma(20, size=40), -rng.gamma(20, size=80), test=test) for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.08
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_what_cannot_be_answered_is_refused() -> None:
    some = np.array([1.0, 2.0])
    with pytest.raises(UserError, match="there are none"):
        percentiles(some, np.array([]))
    with pytest.raises(UserError, match="finite"):
        conformal_p_values(np.array([np.nan]), some)
    with pytest.raises(UserError, match="without samples"):
        collection_p_value(np.array([]), some)
    with pytest.raises(UserError, match="not 1 and 2"):
        collection_p_value(np.array([1.0]), some, test="welch")
    with pytest.raises(UserError, match="scores that vary"):
        collection_p_value(np.ones(3), np.zeros(3), test="welch")
