"""Adjusted p-values against their definition, and the error rates that they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from secmi_exp.errors import UserError
from secmi_exp.evaluation.exposure import conformal_p_values
from secmi_exp.evaluation.multiple_testing import benjamini_hochberg, holm

P_VALUES = arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1, allow_subnormal=False))


@given(p_values=P_VALUES)
def test_a_q_value_is_the_least_rate_of_all_thresholds_that_reject(p_values: np.ndarray) -> None:
    rates = {t: min(1.0, len(p_values) * t / (p_values <= t).sum()) for t in p_values}
    least = [min(rate for t, rate in rates.items() if t >= p) for p in p_values]
    np.testing.assert_allclose(benjamini_hochberg(p_values), least, rtol=1e-12)


@given(p_values=P_VALUES, alpha=st.sampled_from([0.01, 0.05, 0.2, 0.5]))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: np.ndarray, alpha: float) -> None:
    rejected = np.zeros(len(p_values), dtype=bool)
    for step, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] * (len(p_values) - step) > alpha:
            break
        rejected[index] = True
    np.testing.assert_array_equal(holm(p_values) <= alpha, rejected)


def test_holm_keeps_the_family_wise_error_where_bare_p_values_do_not() -> None:
    rng, tests, rounds = np.random.default_rng(0), 6, 3000
    shared = rng.normal(size=(rounds, 1))
    z = np.sqrt(0.3) * shared + np.sqrt(0.7) * rng.normal(size=(rounds, tests))  # comparisons share samples
    z[:, 0] += 4.0  # one true difference
    p_values = 2 * stats.norm.sf(abs(z))
    errors = np.mean([(holm(each)[1:] <= 0.05).any() for each in p_values])
    assert errors <= 0.055
    assert (p_values[:, 1:] <= 0.05).any(axis=1).mean() > 0.12


def test_q_values_of_one_shared_reference_keep_the_discovery_rate() -> None:
    rng, rounds, alpha, proportions, found = np.random.default_rng(1), 400, 0.2, [], []
    is_member = np.arange(100) < 30
    for _ in range(rounds):
        p_values = conformal_p_values(rng.normal(3.0 * is_member), rng.normal(size=500))
        named = benjamini_hochberg(p_values) <= alpha
        proportions.append((named & ~is_member).sum() / max(1, named.sum()))
        found.append(named[is_member].mean())
    assert np.mean(proportions) <= alpha
    assert np.mean(proportions) > 0.08  # the bound is alpha × 0.7, and it is nearly reached
    assert np.mean(found) > 0.5


@pytest.mark.parametrize("value", [1.1, -0.1, np.nan])
def test_what_is_no_probability_is_refused(value: float) -> None:
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(UserError, match="between 0 and 1"):
            adjust(np.array([0.5, value]))
