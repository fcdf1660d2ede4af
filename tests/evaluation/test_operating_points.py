"""Counts at a threshold, points at a false-positive rate, and the log-scale area: by definition and by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, precision_score, recall_score

from secmi_exp.errors import UserError
from secmi_exp.evaluation.confusion import Confusion
from secmi_exp.evaluation.operating_points import operating_point, operating_points
from secmi_exp.evaluation.roc import Roc
from tests.support.normal_scores import normal_scores

TIED = arrays(np.float64, 60, elements=st.integers(0, 40).map(float))
HALF = st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).permutation(60) < 30)


@given(scores=TIED, is_member=HALF, threshold=st.integers(-1, 41))
@settings(deadline=None, max_examples=20)
def test_rates_at_a_threshold_are_those_of_scikit_learn(
    scores: np.ndarray, is_member: np.ndarray, threshold: int
) -> None:
    found, called = Confusion.at(scores, is_member, threshold), scores >= threshold
    assert found.recall == pytest.approx(recall_score(is_member, called))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(is_member, called))
    if called.any():
        assert found.precision == pytest.approx(precision_score(is_member, called))
        low, high = found.precision_interval() or (np.nan, np.nan)
        assert low <= found.precision <= high
    else:
        assert found.precision is found.precision_interval() is None
    low, high = found.balanced_accuracy_interval()
    assert 0.0 <= low <= found.balanced_accuracy <= high <= 1.0


@given(scores=TIED, is_member=HALF, max_fpr=st.sampled_from([1 / 30, 0.1, 0.2, 0.5, 0.99]))
@settings(deadline=None, max_examples=20)
def test_point_is_that_of_the_roc_and_its_threshold_keeps_the_rate(
    scores: np.ndarray, is_member: np.ndarray, max_fpr: float
) -> None:
    point = operating_point(scores, is_member, max_fpr)
    there = Confusion.at(scores, is_member, point.threshold)
    assert point.tpr == there.recall == pytest.approx(Roc.from_scores(scores, is_member).tpr_at(max_fpr, 30))
    assert there.false_positives <= max_fpr * 30 + 1e-9
    assert point.tpr_interval == pytest.approx(there.recall_interval())


def test_intervals_of_a_point_cover_the_rates_of_the_threshold_in_use() -> None:
    rng, rounds, covered = np.random.default_rng(0), 1000, np.zeros(2)
    for _ in range(rounds):
        scored = normal_scores(rng, 100, 200, 1.5)
        point = operating_point(scored.scores, scored.is_member, 0.01)
        rates = stats.norm.sf(point.threshold, [1.5, 0.0])
        covered += [
            low <= rate <= high
            for (low, high), rate in zip((point.tpr_interval, point.fpr_interval), rates, strict=True)
        ]
    assert 0.95 <= covered[0] / rounds <= 0.985  # Clopper–Pearson
    assert 0.935 <= covered[1] / rounds <= 0.965  # exact


def test_rates_below_the_resolution_are_refused_or_left_out() -> None:
    scored = normal_scores(np.random.default_rng(0), 50, 99, 1.0)
    assert list(operating_points(scored.scores, scored.is_member, [0.1, 0.01])) == ["tpr_at_10pct_fpr"]
    with pytest.raises(UserError, match="1% FPR needs at least 100 hold-outs, and there are 99"):
        operating_point(scored.scores, scored.is_member, 0.01)
    with pytest.raises(UserError, match="between 0 and 1, not 1"):
        operating_point(scored.scores, scored.is_member, 1.0)


@given(scores=TIED, is_member=HALF, min_fpr=st.sampled_from([None, 0.05, 0.3]))
@settings(deadline=None, max_examples=12)
def test_log_scale_area_is_the_integral_of_the_staircase(
    scores: np.ndarray, is_member: np.ndarray, min_fpr: float | None
) -> None:
    roc, start = Roc.from_scores(scores, is_member), min_fpr or 1 / 30
    edges = np.linspace(np.log10(start), 0.0, 2001)
    middles = 10 ** ((edges[1:] + edges[:-1]) / 2)
    expected = np.mean([roc.tpr[roc.fpr <= rate].max() for rate in middles])
    assert roc.log_pauc(30, min_fpr) == pytest.approx(expected, abs=2e-3)
    assert roc.log_pauc(30, min_fpr) == pytest.approx(Roc.from_scores(scores**3, is_member).log_pauc(30, min_fpr))


def test_log_scale_area_is_1_for_a_perfect_attack_and_the_named_chance_for_a_useless_one() -> None:
    is_member = np.arange(200) < 100
    assert Roc.from_scores(is_member.astype(float), is_member).log_pauc(100) == 1.0
    useless = normal_scores(np.random.default_rng(0), 20_000, 20_000, 0.0)
    found = Roc.from_scores(useless.scores, useless.is_member).log_pauc(20_000, 0.01)
    assert found == pytest.approx((1 - 0.01) / np.log(1 / 0.01), abs=0.01)  # the integral of FPR itself


def test_log_scale_area_tells_a_confident_few_from_a_vague_lot() -> None:
    """Of two attacks with the same AUC, the one that is sure of a few members has the larger area."""
    rng, n = np.random.default_rng(0), 5000
    is_member, noise = np.arange(2 * n) < n, rng.normal(size=2 * n)
    few = noise + 10.0 * (np.arange(2 * n) < n // 5)  # a fifth of the members, far out: AUC 0.6
    vague = noise + np.sqrt(2.0) * stats.norm.ppf(0.6) * is_member
    few_roc, vague_roc = Roc.from_scores(few, is_member), Roc.from_scores(vague, is_member)
    assert few_roc.auc == pytest.approx(vague_roc.auc, abs=0.02)
    assert few_roc.log_pauc(n, 0.001) > vague_roc.log_pauc(n, 0.001) + 0.1


def test_log_scale_area_below_the_resolution_is_refused() -> None:
    roc = Roc.from_scores(np.arange(20.0), np.arange(20) % 2 == 0)
    with pytest.raises(UserError, match="1% FPR needs at least 100 hold-outs, and there are 10"):
        roc.log_pauc(10, 0.01)
    with pytest.raises(UserError, match="not 1"):
        roc.log_pauc(10, 1.0)
