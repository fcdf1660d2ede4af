"""Metrics against scikit-learn and against their definitions, on scores of any scale."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, precision_score, recall_score, roc_auc_score, roc_curve

from secmi_exp.errors import UserError
from secmi_exp.evaluation.bootstrap import bootstrap, resampled_metrics
from secmi_exp.evaluation.delong import auc_interval
from secmi_exp.evaluation.judge import judge
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Scored


def t_error_scores(n: int, seed: int = 0) -> Scored:
    """Negative t-errors in the hundreds, as SecMI_stat has them."""
    rng = np.random.default_rng(seed)
    is_member = np.arange(n) % 2 == 0
    return Scored(-rng.gamma(20, np.where(is_member, 10.0, 14.0)), is_member)


def test_raw_t_errors_give_the_auc_of_scikit_learn() -> None:
    scored = t_error_scores(2000)
    expected = roc_auc_score(scored.is_member, scored.scores)
    assert 0.7 < expected < 0.95
    assert Roc.from_scores(scored.scores, scored.is_member).auc == pytest.approx(expected, abs=1e-6)


@given(scores=arrays(np.float64, 30, elements=st.integers(-400, 400).map(float)), seed=st.integers(0, 99))
@settings(deadline=None)
def test_roc_with_ties_is_that_of_scikit_learn(scores: np.ndarray, seed: int) -> None:
    is_member = np.random.default_rng(seed).permutation(30) < 15
    roc = Roc.from_scores(scores, is_member)
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
    tpr = Roc.from_scores(scores, is_member).tpr_at(max_fpr, 30)
    allowed = [
        (scores[is_member] >= threshold).mean()
        for threshold in [np.inf, *scores]
        if (scores[~is_member] >= threshold).mean() <= max_fpr + 1e-12
    ]
    assert tpr == pytest.approx(max(allowed))


def test_asr_is_the_best_accuracy_over_all_thresholds() -> None:
    scored = t_error_scores(300)
    threshold, asr = Roc.from_scores(scored.scores, scored.is_member).best_threshold()
    every = [balanced_accuracy_score(scored.is_member, scored.scores >= each) for each in scored.scores]
    assert asr == pytest.approx(max(every))
    assert balanced_accuracy_score(scored.is_member, scored.scores >= threshold) == pytest.approx(asr)


def test_calibrated_threshold_is_chosen_on_the_calibration_set_alone() -> None:
    evaluation, calibration = t_error_scores(400), t_error_scores(200, seed=1)
    judged = judge(evaluation, calibration, rounds=50, seed=0)
    threshold, _ = Roc.from_scores(calibration.scores, calibration.is_member).best_threshold()
    assert judged.thresholds["calibrated"] == threshold
    expected = balanced_accuracy_score(evaluation.is_member, evaluation.scores >= threshold)
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
    quick = bootstrap(
        scored.scores,
        scored.is_member,
        max_fprs={"tpr_at_1pct_fpr": 0.01},
        threshold=-230.0,
        rounds=2000,
        seed=0,
        log_pauc_from=0.01,
    )
    rng, sides = np.random.default_rng(1), (scored.scores[scored.is_member], scored.scores[~scored.is_member])
    is_member = np.repeat([True, False], 100)
    plain: dict[str, list[float]] = {name: [] for name in quick}
    for _ in range(500):
        scores = np.concatenate([rng.choice(side, len(side)) for side in sides])
        roc = Roc.from_scores(scores, is_member)
        plain["auc"].append(roc.auc)
        plain["asr"].append(roc.best_threshold()[1])
        plain["tpr_at_1pct_fpr"].append(roc.tpr_at(0.01, 100))
        plain["accuracy_calibrated"].append(balanced_accuracy_score(is_member, scores >= -230.0))
        plain["log_pauc"].append(roc.log_pauc(100, 0.01))
    for name, interval in quick.items():
        tolerance = 0.06 if name.startswith("tpr") else 0.015
        np.testing.assert_allclose(interval, np.percentile(plain[name], [2.5, 97.5]), atol=tolerance)


def test_each_round_of_the_bootstrap_gives_the_metrics_of_its_resample_ties_and_all() -> None:
    rng, is_member = np.random.default_rng(3), np.arange(90) < 40
    scores = rng.integers(0, 12, size=90) + 2.0 * is_member
    found = resampled_metrics(
        [scores], is_member, max_fprs={"tpr": 0.1}, thresholds=[6.0], rounds=40, seed=5, log_pauc_from=0.02
    )
    rng = np.random.default_rng(5)
    members, holdouts = (
        side[rng.integers(len(side), size=(40, len(side)), dtype=np.int32)]
        for side in (scores[is_member], scores[~is_member])
    )
    for drawn, *values in zip(np.hstack([members, holdouts]), *found.values(), strict=True):
        roc = Roc.from_scores(drawn, is_member)
        expected = {
            "auc": roc.auc,
            "asr": roc.best_threshold()[1],
            "tpr": roc.tpr_at(0.1, 50),
            "log_pauc": roc.log_pauc(50, 0.02),
            "accuracy_calibrated": balanced_accuracy_score(is_member, drawn >= 6.0),
        }
        assert expected == pytest.approx({name: value[0] for name, value in zip(found, values, strict=True)})


def test_bootstrap_interval_of_auc_covers_at_its_nominal_rate() -> None:
    truth = roc_auc_score(*reversed([(large := t_error_scores(200_000, seed=7)).scores, large.is_member]))
    covered = []
    for seed in range(200):
        scored = t_error_scores(200, seed=seed)
        low, high = bootstrap(scored.scores, scored.is_member, max_fprs={}, threshold=0.0, rounds=300, seed=seed)["auc"]
        covered.append(low <= truth <= high)
    assert 0.90 <= np.mean(covered) <= 0.99


def test_each_metric_has_the_interval_that_holds_for_it() -> None:
    evaluation, calibration = t_error_scores(4000), t_error_scores(400, seed=1)
    judged = judge(evaluation, calibration, rounds=200, seed=0)
    assert set(judged.metrics) == set(judged.ci95) == {
        "auc", "asr", "tpr_at_1pct_fpr", "tpr_at_0.1pct_fpr", "log_pauc",
        "accuracy_calibrated", "precision_calibrated", "recall_calibrated",
    }  # fmt: skip
    for name, value in judged.metrics.items():
        low, high = judged.ci95[name] or (np.nan, np.nan)
        assert 0.0 <= low < value < high <= 1.0, name
    called = evaluation.scores >= judged.thresholds["calibrated"]
    hits = int((called & evaluation.is_member).sum())
    assert judged.metrics["precision_calibrated"] == pytest.approx(precision_score(evaluation.is_member, called))
    assert judged.metrics["recall_calibrated"] == pytest.approx(recall_score(evaluation.is_member, called))
    for name, trials in (("precision_calibrated", int(called.sum())), ("recall_calibrated", 2000)):
        exact = binomtest(hits, trials).proportion_ci(0.95, "exact")
        assert judged.ci95[name] == pytest.approx(tuple(exact))
    assert judged.ci95["auc"] == auc_interval(evaluation.scores, evaluation.is_member)
    resampled = bootstrap(evaluation.scores, evaluation.is_member, max_fprs={}, threshold=0.0, rounds=200, seed=0)
    np.testing.assert_allclose(judged.ci95["auc"], resampled["auc"], atol=0.003)
    assert judged.ci95["asr"] == resampled["asr"]


def test_tpr_with_its_threshold_held_fixed_is_told_more_exactly() -> None:
    judged = judge(t_error_scores(4000), t_error_scores(400, seed=1), rounds=200, seed=0)
    for name, point in judged.operating_points.items():
        assert point.tpr == judged.metrics[name]
        assert np.ptp(point.tpr_interval) < np.ptp(judged.ci95[name] or (0, 0))


def test_false_positive_rates_can_be_chosen() -> None:
    judged = judge(t_error_scores(400), t_error_scores(100, seed=1), rounds=20, seed=0, low_fprs=[0.1, 1e-5])
    assert judged.metrics["tpr_at_10pct_fpr"] == judged.operating_points["tpr_at_10pct_fpr"].tpr
    assert judged.metrics["tpr_at_0.001pct_fpr"] is None
    assert judged.unresolved["tpr_at_0.001pct_fpr"] == "0.001% FPR needs at least 100,000 hold-outs, and there are 200"
    assert judged.metrics["log_pauc"] is judged.ci95["log_pauc"] is None
    assert "1,000 hold-outs" in judged.unresolved["log_pauc"]


def test_a_threshold_that_calls_nobody_a_member_leaves_precision_open() -> None:
    evaluation = t_error_scores(200)
    no_use = Scored(np.array([1.0, 2.0]), np.array([True, False]))  # no threshold beats calling nobody
    judged = judge(evaluation, no_use, rounds=20, seed=0)
    assert judged.thresholds["calibrated"] == np.inf
    assert judged.metrics["precision_calibrated"] is judged.ci95["precision_calibrated"] is None
    assert "no sample a member" in judged.unresolved["precision_calibrated"]
    assert judged.metrics["recall_calibrated"] == 0.0


@pytest.mark.slow
def test_fifty_thousand_scores_with_a_thousand_rounds_take_seconds() -> None:
    evaluation, calibration = t_error_scores(50_000), t_error_scores(10_000, seed=1)
    started = time.process_time()
    judged = judge(evaluation, calibration, rounds=1000, seed=0)
    assert time.process_time() - started < 5.0
    assert all(judged.ci95.values())


def test_importing_the_judge_imports_no_scipy() -> None:
    """They take a second, and a stored run has to answer at once."""
    code = "import sys, secmi_exp.evaluation.judge; print([m for m in ('scipy', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [([1.0, np.nan], [True, False], "1 of 2 membership scores are not finite"), ([1.0, 2.0], [True, True], "one side")],
)
def test_scores_that_cannot_be_judged_are_refused(scores: list[float], labels: list[bool], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Roc.from_scores(np.array(scores), np.array(labels))
