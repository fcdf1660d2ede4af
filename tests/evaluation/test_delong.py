"""AUC, its variance and the paired test against their O(n²) definitions, scikit-learn and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import roc_auc_score

from secmi_exp.errors import UserError
from secmi_exp.evaluation.delong import auc_interval, delong, midranks, paired_test, placements
from tests.support.normal_scores import normal_scores, true_auc

TIED_SCORES = arrays(np.float64, (2, 20), elements=st.integers(-4, 4).map(float))
SOME_MEMBERS = st.integers(0, 999).map(lambda seed: np.random.default_rng(seed).permutation(20) < 2 + seed % 17)


def pairwise(scores: np.ndarray, is_member: np.ndarray) -> np.ndarray:
    """DeLong's kernel: 1, ½ or 0 for each member (row) against each hold-out (column)."""
    members, holdouts = scores[is_member][:, None], scores[~is_member][None, :]
    return (members > holdouts) + 0.5 * (members == holdouts)


def covariance_by_definition(first: np.ndarray, second: np.ndarray) -> float:
    """Equations 4–6 of DeLong et al., with plain sums."""
    total = 0.0
    for axis in (1, 0):
        one, other = first.mean(axis=axis), second.mean(axis=axis)
        total += sum((one - first.mean()) * (other - second.mean())) / (len(one) - 1) / len(one)
    return total


@given(values=arrays(np.float64, 15, elements=st.integers(-5, 5).map(float)))
def test_midranks_are_those_of_scipy(values: np.ndarray) -> None:
    np.testing.assert_array_equal(midranks(values), stats.rankdata(values))


@given(score_sets=TIED_SCORES, is_member=SOME_MEMBERS)
@settings(deadline=None, max_examples=60)
def test_aucs_and_covariance_with_ties_are_those_of_the_definition(
    score_sets: np.ndarray, is_member: np.ndarray
) -> None:
    found = delong(score_sets, is_member)
    kernels = [pairwise(scores, is_member) for scores in score_sets]
    np.testing.assert_allclose(found.auc, [roc_auc_score(is_member, scores) for scores in score_sets])
    expected = [[covariance_by_definition(one, other) for other in kernels] for one in kernels]
    np.testing.assert_allclose(found.covariance, expected, atol=1e-14)


@given(score_sets=TIED_SCORES, is_member=SOME_MEMBERS)
@settings(deadline=None, max_examples=60)
def test_monotone_transforms_change_nothing_and_the_complement_mirrors(
    score_sets: np.ndarray, is_member: np.ndarray
) -> None:
    scores, other = score_sets
    low, high = auc_interval(scores, is_member)
    assert 0.0 <= low <= delong([scores], is_member).auc[0] <= high <= 1.0
    assert auc_interval(np.exp(scores) * 1e3, is_member) == pytest.approx((low, high))
    for mirrored in (auc_interval(-scores, is_member), auc_interval(scores, ~is_member)):
        assert mirrored == pytest.approx((1.0 - high, 1.0 - low))
    forth, back = paired_test(scores, other, is_member), paired_test(other, scores, is_member)
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.p_value == pytest.approx(back.p_value)
    assert forth.interval == pytest.approx(tuple(-end for end in reversed(back.interval)), abs=1e-12)
    assert forth.p_value == pytest.approx(paired_test(scores**3, np.exp(other), is_member).p_value)


def test_paired_test_is_the_normal_test_of_the_covariance() -> None:
    rng = np.random.default_rng(0)
    scored = normal_scores(rng, 60, 40, 1.0)
    other = scored.scores + rng.normal(size=100)
    found, aucs = paired_test(scored.scores, other, scored.is_member), delong([scored.scores, other], scored.is_member)
    contrast = np.array([1.0, -1.0])
    error = math.sqrt(contrast @ aucs.covariance @ contrast)
    assert found.difference == pytest.approx(contrast @ aucs.auc)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(found.difference) / error))
    expected = stats.norm.interval(0.95, found.difference, error)
    assert found.interval == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n_member", "n_holdout", "shift", "least"), [(100, 100, 1.0, 0.93), (40, 200, 0.3, 0.93), (25, 25, 2.5, 0.92)]
)
def test_interval_covers_the_true_auc_at_its_nominal_rate(
    n_member: int, n_holdout: int, shift: float, least: float
) -> None:
    rng, truth, rounds = np.random.default_rng(1), true_auc(shift), 1500
    covered = 0
    for _ in range(rounds):
        scored = normal_scores(rng, n_member, n_holdout, shift)
        low, high = auc_interval(scored.scores, scored.is_member)
        covered += low <= truth <= high
    assert least <= covered / rounds <= 0.97


def test_paired_p_values_are_uniform_where_the_aucs_are_equal() -> None:
    rng, p_values = np.random.default_rng(2), []
    for _ in range(1500):
        scored = normal_scores(rng, 80, 80, 1.0)  # two noisy views of the same samples
        one, other = scored.scores + rng.normal(size=(2, 160))
        p_values.append(paired_test(one, other, scored.is_member).p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_paired_test_finds_a_difference_that_overlapping_intervals_hide() -> None:
    rng = np.random.default_rng(3)
    scored = normal_scores(rng, 300, 300, 1.0)
    noisier = scored.scores + rng.normal(scale=0.4, size=600)
    (_, high), (low, _) = auc_interval(noisier, scored.is_member), auc_interval(scored.scores, scored.is_member)
    assert low < high
    assert paired_test(scored.scores, noisier, scored.is_member).p_value < 0.01


@pytest.mark.parametrize("auc", [0.0, 0.5, 1.0])
def test_outcome_without_variance_is_judged_by_disjoint_pairs(auc: float) -> None:
    is_member = np.arange(30) < 20
    scores = np.where(is_member, 2.0 * auc - 1.0, 0.0)
    low, high = auc_interval(scores, is_member)
    likely = stats.binomtest(10, 10).proportion_ci(0.95, "exact").low  # 10 pairs, all alike
    assert (low, high) == pytest.approx((likely * auc, likely * auc + 1.0 - likely))


def test_interval_of_a_separating_attack_misses_no_more_often_than_it_says() -> None:
    """P(all members above all hold-outs), at the AUC that its interval just excludes."""
    rng, pairs = np.random.default_rng(4), 5
    low, _ = auc_interval(np.arange(10.0), np.arange(10) >= 5)
    shift = math.sqrt(2.0) * stats.norm.ppf(low - 1e-9)
    scores = rng.normal(size=(20_000, 2, pairs))
    separated = (scores[:, 0] + shift).min(axis=1) > scores[:, 1].max(axis=1)
    assert separated.mean() <= 0.025


def test_paired_test_without_variance_says_only_what_pairs_show() -> None:
    is_member = np.arange(16) < 8
    perfect, useless = np.where(is_member, 1.0, 0.0), np.zeros(16)
    assert paired_test(perfect, perfect * 3, is_member).p_value == 1.0
    found = paired_test(perfect, useless, is_member)
    assert found.difference == 0.5
    assert found.p_value == pytest.approx(stats.binomtest(8, 8).pvalue)
    assert found.interval[0] < 0.5 < found.interval[1] <= 1.0


def test_one_sample_on_a_side_tells_nothing_of_its_spread() -> None:
    is_member = np.arange(10) < 1
    scores = np.array([4.5, *range(9)])
    assert auc_interval(scores, is_member) == (0.0, 1.0)
    assert paired_test(scores, -scores, is_member).p_value == 1.0
    assert np.isnan(delong([scores], is_member).covariance).all()


def test_a_hundred_thousand_scores_take_no_square_of_memory() -> None:
    scored = normal_scores(np.random.default_rng(5), 50_000, 50_000, 1.0)
    outscored, outscoring = placements(scored.scores, scored.is_member)
    assert outscored.mean() == pytest.approx(outscoring.mean())
    low, high = auc_interval(scored.scores, scored.is_member)
    assert low < true_auc(1.0) < high
    assert high - low < 0.006


def test_scores_that_overflow_are_refused() -> None:
    with pytest.raises(UserError, match="not finite"):
        auc_interval(np.array([1.0, np.inf]), np.array([True, False]))
