"""Metrics against scikit-learn and against their definitions, on scores of any scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score, roc_curve

from secmi_exp.errors import UserError
from secmi_exp.evaluation.bootstrap import bootstrap
from secmi_exp.evaluation.judge import Scored, judge
from secmi_exp.evaluation.roc import Roc, balanced_accuracy


def t_error_scores(n: int, seed: int = 0) -> Scored:
    """Negative t-errors in the hundreds, as SecMI_stat has them."""
    rng = np.random.default_rng(seed)
    is_member = np.arange(n) % 2 == 0
    return Scored(-rng.gamma(20, np.where(is_member, 10.0, 14.0)), is_member)


def test_raw_t_errors_give_the_auc_of_scikit_learn() -> None:
    scored = t_error_scores(2000)
    expected = roc_auc_score(scored.is_member, scored.scores)
    assert 0.7 < expected < 0.95
    assert Roc.of(scored.scores, scored.is_member).auc == pytest.approx(expected, abs=1e-6)


@given(scores=arrays(np.float64, 30, elements=st.integers(-400, 400).map(float)), seed=st.integers(0, 99))
@settings(deadline=None)
def test_roc_with_ties_is_that_of_scikit_learn(scores: np.ndarray, seed: int) -> None:
    is_member = np.random.default_rng(seed).permutation(30) < 15
    roc = Roc.of(scores, is_member)
    fpr, tpr, thresholds = roc_curve(is_member, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(roc.tpr, tpr, atol=1e-12)
    np.testing.assert_array_equal(roc.thresholds, thresholds)


@given(
    scores=arrays(np.float64, 60, elements=st.integers(0, 40).map(float)),
    seed=st.integers(0, 99),
    max_fpr=st.sampled_from([0.0, 0.01, 0.1, 1 / 30, 0.2, 0.5]),
)
@settings(deadline=None)
def test_tpr_never_comes_from_a_point_above_the_named_fpr(scores: np.ndarray, seed: int, max_fpr: float) -> None:
    is_member = np.random.default_rng(seed).permutation(60) < 30
    tpr = Roc.of(scores, is_member).tpr_at(max_fpr, 30)
    allowed = [
        (scores[is_member] >= threshold).mean()
        for threshold in [np.inf, *scores]
        if (scores[~is_member] >= threshold).mean() <= max_fpr + 1e-12
    ]
    assert tpr == pytest.approx(max(allowed))


def test_asr_is_the_best_accuracy_over_all_thresholds() -> None:
    scored = t_error_scores(300)
    threshold, asr = Roc.of(scored.scores, scored.is_member).best_threshold()
    every = [balanced_accuracy(scored.scores, scored.is_member, each) for each in scored.scores]
    assert asr == pytest.approx(max(every))
    assert balanced_accuracy(scored.scores, scored.is_member, threshold) == pytest.approx(asr)


def test_calibrated_threshold_is_chosen_on_the_calibration_set_alone() -> None:
    evaluation, calibration = t_error_scores(400), t_error_scores(200, seed=1)
    judged = judge(evaluation, calibration, rounds=50, seed=0)
    threshold, _ = Roc.of(calibration.scores, calibration.is_member).best_threshold()
    assert judged.thresholds["calibrated"] == threshold
    expected = balanced_accuracy(evaluation.scores, evaluation.is_member, threshold)
    assert judged.metrics["accuracy_calibrated"] == pytest.approx(expected)
    assert judged.metrics["accuracy_calibrated"] <= judged.metrics["asr"]


@pytest.mark.parametrize(("n", "resolved"), [(198, []), (200, [0.01]), (1998, [0.01]), (2000, [0.01, 0.001])])
def test_low_false_positive_rates_need_enough_holdouts(n: int, resolved: list[float]) -> None:
    judged = judge(t_error_scores(n), t_error_scores(100, seed=1), rounds=20, seed=0)
    for name, max_fpr in (("tpr_at_1pct_fpr", 0.01), ("tpr_at_0.1pct_fpr", 0.001)):
        assert (judged.metrics[name] is not None) == (judged.ci95[name] is not None) == (max_fpr in resolved)
        assert (name in judged.unresolved) == (max_fpr not in resolved)


def test_bootstrap_is_the_plain_resampling_it_replaces() -> None:
    scored = t_error_scores(200)
    names = {"tpr_at_1pct_fpr": 0.01}
    quick = bootstrap(scored.scores, scored.is_member, max_fprs=names, threshold=-230.0, rounds=2000, seed=0)
    rng, sides = np.random.default_rng(1), (scored.scores[scored.is_member], scored.scores[~scored.is_member])
    is_member = np.repeat([True, False], 100)
    plain: dict[str, list[float]] = {name: [] for name in quick}
    for _ in range(500):
        scores = np.concatenate([rng.choice(side, len(side)) for side in sides])
        roc = Roc.of(scores, is_member)
        plain["auc"].append(roc.auc)
        plain["asr"].append(roc.best_threshold()[1])
        plain["tpr_at_1pct_fpr"].append(roc.tpr_at(0.01, 100))
        plain["accuracy_calibrated"].append(balanced_accuracy(scores, is_member, -230.0))
    for name, interval in quick.items():
        tolerance = 0.06 if name.startswith("tpr") else 0.015
        np.testing.assert_allclose(interval, np.percentile(plain[name], [2.5, 97.5]), atol=tolerance)


def test_bootstrap_interval_of_auc_covers_at_its_nominal_rate() -> None:
    truth = roc_auc_score(*reversed([(large := t_error_scores(200_000, seed=7)).scores, large.is_member]))
    covered = []
    for seed in range(200):
        scored = t_error_scores(200, seed=seed)
        low, high = bootstrap(scored.scores, scored.is_member, max_fprs={}, threshold=0.0, rounds=300, seed=seed)["auc"]
        covered.append(low <= truth <= high)
    assert 0.90 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [([1.0, np.nan], [True, False], "1 of 2 membership scores are not finite"), ([1.0, 2.0], [True, True], "one side")],
)
def test_scores_that_cannot_be_judged_are_refused(scores: list[float], labels: list[bool], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Roc.of(np.array(scores), np.array(labels))
