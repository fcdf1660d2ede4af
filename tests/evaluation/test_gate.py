"""Limits against intervals: kept, exceeded or undecided, and how often that is wrong."""

from statistics import NormalDist

import numpy as np
import pytest

from secmi_exp.evaluation.confusion import Confusion
from secmi_exp.evaluation.gate import (
    Accounted,
    Comparison,
    Decision,
    Limits,
    Measured,
    Outcome,
    decide,
    epsilon_interval,
)
from secmi_exp.evaluation.judge import Judgement, judge
from secmi_exp.evaluation.privacy_bound import PrivacyBound, epsilon_from_counts, privacy_bound
from secmi_exp.evaluation.scored import Scored

PASSED, UNDECIDED, FAILED = Outcome.PASSED, Outcome.UNDECIDED, Outcome.FAILED


def judged(shift: float, each: int, seed: int = 0) -> tuple[Judgement, Scored, PrivacyBound]:
    """Of normal scores; members are shifted."""
    rng = np.random.default_rng(seed)
    is_member = np.arange(2 * each) < each
    evaluation, calibration = (Scored(rng.normal(shift * is_member), is_member) for _ in range(2))
    return judge(evaluation, calibration, rounds=200, seed=seed), evaluation, privacy_bound(evaluation, calibration)


def outcomes(limits: Limits, shift: float, each: int, doubt: str = "") -> dict[str, Outcome]:
    return {found.limit: found.outcome for found in decide(limits, "stat", *judged(shift, each), doubt=doubt)}


def test_each_limit_is_failed_kept_or_left_open_by_its_interval() -> None:
    limits = Limits(max_auc=0.55, max_tpr_at_1pct=0.05, max_epsilon=0.5)
    assert outcomes(limits, 0.0, 2000) == dict.fromkeys(limits.given, PASSED)
    assert outcomes(limits, 3.0, 2000) == dict.fromkeys(limits.given, FAILED)
    assert outcomes(limits, 0.2, 120) == dict.fromkeys(limits.given, UNDECIDED)
    assert outcomes(limits, 3.0, 2000, doubt="split_at_fault") == dict.fromkeys(limits.given, UNDECIDED)


def test_only_limits_that_are_set_are_compared() -> None:
    assert outcomes(Limits(None, None, None), 1.0, 100) == {}
    assert list(outcomes(Limits(None, None, 1.0), 1.0, 100)) == ["max_epsilon"]


def test_a_rate_that_the_holdouts_do_not_resolve_is_undecided_and_says_why() -> None:
    (found,) = decide(Limits(None, 0.02, None), "stat", *judged(0.0, 50))
    assert found.outcome is UNDECIDED
    assert "100 hold-outs" in found.reason
    assert found.measured == Measured(None, unresolved=found.reason)


def test_epsilon_without_a_calibrated_threshold_is_undecided() -> None:
    judgement, evaluation, _ = judged(1.0, 60)
    (found,) = decide(Limits(None, None, 8.0), "stat", judgement, evaluation, None)
    assert found.outcome is UNDECIDED
    assert "no images are left to calibrate" in found.reason


def test_no_detected_member_passes_no_tighter_limit_than_the_sample_allows() -> None:
    is_member = np.arange(300) < 150
    evaluation = Scored(np.where(is_member, np.arange(300.0), 1000.0 + np.arange(300)), is_member)
    judgement = judge(evaluation, evaluation, rounds=50, seed=0)
    assert judgement.ci95["tpr_at_1pct_fpr"] == (0.0, 0.0)
    bound = privacy_bound(evaluation, evaluation)
    (found,) = decide(Limits(None, 0.02, None), "stat", judgement, evaluation, bound)
    assert found.measured.high == pytest.approx(1 - 0.025 ** (1 / 150))
    assert found.outcome is UNDECIDED


def test_the_interval_of_epsilon_is_the_bounds_own_and_ends_at_what_was_accounted() -> None:
    counts = Confusion(true_positives=300, false_positives=20, n_member=1000, n_holdout=1000)
    found = epsilon_interval(counts, 1e-5)
    assert found.low == pytest.approx(float(epsilon_from_counts(20, 1000, 700, 1000, delta=1e-5, confidence=0.975)))
    assert found.value == pytest.approx(np.log((0.3 - 1e-5) / 0.02))
    assert found.low < found.value < found.high
    assert epsilon_interval(counts, 1e-5, Accounted(3.0, 1e-5)).high == 3.0
    assert epsilon_interval(counts, 1e-5, Accounted(3.0, 1e-4)).high == found.high  # at a larger δ it says less
    assert epsilon_interval(counts, 1e-5, Accounted(50.0, 1e-5)).high == found.high
    assert epsilon_interval(counts, 1e-5, Accounted(0.5, 1e-5)) == found  # refuted


def test_degenerate_counts_have_an_interval() -> None:
    for counts in (Confusion(0, 0, 10, 10), Confusion(10, 10, 10, 10), Confusion(0, 10, 10, 10)):
        found = epsilon_interval(counts, 0.0)
        assert found.low == 0.0
    assert epsilon_interval(Confusion(10, 0, 10, 10), 0.0).value is None


def test_the_worst_comparison_decides() -> None:
    each = [Comparison("stat", "max_auc", 0.5, Measured(0.5, 0.4, 0.6), outcome) for outcome in Outcome]
    assert Decision(tuple(each)).outcome is FAILED
    assert Decision(tuple(each[:2])).outcome is UNDECIDED
    assert Decision(tuple(each[:1])).outcome is PASSED


def test_epsilon_is_within_its_interval_as_often_as_it_says() -> None:
    rng, trials, n = np.random.default_rng(0), 500, 400
    for tpr, fpr in ((0.05, 0.05), (0.3, 0.05), (0.6, 0.2)):
        true = max(np.log(tpr / fpr), np.log((1 - fpr) / (1 - tpr)), 0.0)
        drawn = zip(rng.binomial(n, tpr, trials), rng.binomial(n, fpr, trials), strict=True)
        found = [epsilon_interval(Confusion(int(tp), int(fp), n, n), 0.0) for tp, fp in drawn]
        assert np.mean([each.low > true for each in found]) <= 0.025
        assert np.mean([each.high is not None and each.high < true for each in found]) <= 0.025


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0.02, 0.1])
def test_a_target_at_the_limit_of_the_tpr_is_seldom_decided(limit: float) -> None:
    shift = NormalDist().inv_cdf(0.99) - NormalDist().inv_cdf(1 - limit)
    found = [
        comparison.outcome
        for seed in range(200)
        for comparison in decide(Limits(None, limit, None), "stat", *judged(shift, 205, seed))
    ]
    assert found.count(PASSED) <= 0.05 * len(found)
    assert found.count(FAILED) <= 0.10 * len(found)  # the bootstrap of few samples beyond a threshold errs low
