"""Bounds on ε against mechanisms whose ε is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from secmi_exp.errors import UserError
from secmi_exp.evaluation.confusion import Confusion
from secmi_exp.evaluation.one_run import one_run_epsilon, one_run_p_value
from secmi_exp.evaluation.one_run_audit import Membership
from secmi_exp.evaluation.privacy_bound import epsilon_from_counts, epsilon_of, highest_bound, privacy_bound
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Scored
from tests.support.normal_scores import normal_scores


def gaussian_epsilon(shift: float, delta: float) -> float:
    """ε of the Gaussian mechanism with sensitivity/σ = shift (Balle and Wang 2018, theorem 8)."""

    def excess(epsilon: float) -> float:
        ends = np.array([-epsilon / shift + shift / 2, -epsilon / shift - shift / 2])
        first, second = stats.norm.cdf(ends)
        return float(first - math.exp(epsilon) * second - delta)

    return float(optimize.brentq(excess, 0.0, 30.0))


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0, 4.0])
def test_randomized_response_is_not_said_to_leak_more_than_it_does(epsilon: float) -> None:
    rng, n = np.random.default_rng(0), 2000
    wrong = 1.0 / (1.0 + math.exp(epsilon))
    bounds = epsilon_from_counts(rng.binomial(n, wrong, 4000), n, rng.binomial(n, wrong, 4000), n)
    assert (bounds > epsilon).mean() <= 0.05
    assert np.median(bounds) >= 0.75 * epsilon - 0.01


def test_bound_is_the_formula_of_clopper_pearson_ends() -> None:
    fpr, fnr = (stats.binomtest(k, n).proportion_ci(0.95, "exact").high for k, n in ((3, 400), (150, 300)))
    expected = max(math.log((1 - 1e-5 - fnr) / fpr), math.log((1 - 1e-5 - fpr) / fnr), 0.0)
    assert float(epsilon_from_counts(3, 400, 150, 300, delta=1e-5)) == pytest.approx(expected)


@given(k=st.integers(0, 100), j=st.integers(0, 100), delta=st.sampled_from([0.0, 1e-5, 0.1]))
def test_bound_is_symmetric_and_falls_with_delta_and_confidence(k: int, j: int, delta: float) -> None:
    bound = float(epsilon_from_counts(k, 100, j, 100, delta=delta))
    assert bound == float(epsilon_from_counts(j, 100, k, 100, delta=delta)) >= 0.0
    assert float(epsilon_from_counts(k, 100, j, 100, delta=delta + 0.1)) <= bound
    assert float(epsilon_from_counts(k, 100, j, 100, delta=delta, confidence=0.99)) <= bound


@pytest.mark.parametrize(("shift", "delta"), [(1.0, 0.05), (1.5, 0.1), (0.5, 0.1)])
def test_gaussian_mechanism_is_not_said_to_leak_more_than_it_does(shift: float, delta: float) -> None:
    rng, truth, bounds = np.random.default_rng(1), gaussian_epsilon(shift, delta), []
    for _ in range(150):
        evaluation, calibration = (normal_scores(rng, 1000, 1000, shift) for _ in range(2))
        threshold = highest_bound(calibration, delta=delta)[1]  # all that privacy_bound does for this bound
        outcome = Confusion.at(evaluation.scores, evaluation.is_member, threshold)
        bounds.append(epsilon_of(outcome, delta=delta))
    assert (np.array(bounds) > truth).mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 150)
    assert np.median(bounds) >= (0.2 * truth if shift > 0.5 else 0.0)


def test_bound_says_where_it_was_reached_and_never_looks_at_the_judged_labels_for_it() -> None:
    rng = np.random.default_rng(3)
    evaluation, calibration = (normal_scores(rng, 400, 400, 2.0) for _ in range(2))
    found = privacy_bound(evaluation, calibration)
    shuffled = Scored(evaluation.scores, rng.permutation(evaluation.is_member))
    assert privacy_bound(shuffled, calibration).threshold == found.threshold
    counts = Confusion.at(evaluation.scores, evaluation.is_member, found.threshold)
    assert found.outcome == counts
    expected = epsilon_from_counts(counts.false_positives, 400, counts.false_negatives, 400)
    assert 1.0 < found.epsilon == pytest.approx(float(expected))
    guess = evaluation.scores >= Roc.from_scores(calibration.scores, calibration.is_member).best_threshold()[0]
    correct = int((guess == evaluation.is_member).sum())
    assert found.one_run == one_run_epsilon(correct, 800, 800) > 1.0


def test_samples_that_became_members_in_groups_get_no_bound_of_one_run() -> None:
    evaluation, calibration = (normal_scores(np.random.default_rng(3), 400, 400, 2.0) for _ in range(2))
    near, grouped = (
        privacy_bound(evaluation, calibration, delta=0.0, membership=each)
        for each in (Membership.DRAWN, Membership.GROUPED)
    )
    assert near.one_run
    assert near.audit
    assert (grouped.one_run, grouped.audit, grouped.epsilon) == (None, None, near.epsilon)


def test_one_run_bound_of_pure_privacy_is_the_log_odds_of_the_accuracy() -> None:
    low = stats.binomtest(800, 1000, alternative="greater").proportion_ci(0.95, "exact").low
    assert one_run_epsilon(800, 1000, 2000) == pytest.approx(math.log(low / (1 - low)), abs=1e-5)


@pytest.mark.parametrize(("correct", "guesses", "delta"), [(9, 12, 0.01), (30, 40, 1e-3), (5, 5, 0.02), (1, 8, 0.1)])
def test_one_run_p_value_is_that_of_the_theorem(correct: int, guesses: int, delta: float) -> None:
    right, samples = 1 / (1 + math.exp(-0.7)), guesses + 3
    masses = stats.binom.pmf(np.arange(guesses + 1), guesses, right)
    steepest = max(masses[correct - i : correct].sum() / i for i in range(1, correct + 1))
    expected = masses[correct:].sum() + 2 * samples * delta * steepest
    assert one_run_p_value(correct, guesses, samples, 0.7, delta=delta) == pytest.approx(min(1.0, expected))


def test_one_run_bound_of_randomized_response_holds_and_is_near() -> None:
    rng, epsilon, n = np.random.default_rng(4), 1.0, 5000
    correct = rng.binomial(n, 1 / (1 + math.exp(-epsilon)), 400)
    bounds = np.array([one_run_epsilon(int(each), n, n) for each in correct])
    assert (bounds > epsilon).mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)
    assert np.median(bounds) > 0.9
    assert one_run_epsilon(int(correct[0]), n, n, delta=1e-5) < one_run_epsilon(int(correct[0]), n, n)
    assert one_run_epsilon(n // 2, n, n) == 0.0


def test_impossible_settings_are_refused() -> None:
    scored = normal_scores(np.random.default_rng(5), 10, 10, 0.0)
    with pytest.raises(UserError, match="δ lies"):
        privacy_bound(scored, scored, delta=1.0)
    with pytest.raises(UserError, match="confidence lies"):
        highest_bound(scored, confidence=1.0)
    with pytest.raises(UserError, match="not 3, 2, 2"):
        one_run_p_value(3, 2, 2, 0.0)
