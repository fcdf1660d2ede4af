"""The bound from many trainings against simulated mechanisms, each with an image in or out."""

import math

import numpy as np
import pytest

from secmi_exp.errors import UserError
from secmi_exp.evaluation.gaussian_privacy import gaussian_epsilon
from secmi_exp.evaluation.many_runs import many_run_bound, most_accurate_threshold
from secmi_exp.evaluation.privacy_bound import epsilon_from_counts
from secmi_exp.evaluation.scored import Scored
from tests.support.gaussian_mechanisms import coin_scores


def trainings(rng: np.random.Generator, runs: int, mus: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and coins of an image a column."""
    images = [coin_scores(rng, runs, mu) for mu in mus]
    return np.stack([each.scores for each in images], 1), np.stack([each.is_member for each in images], 1)


def test_the_exposed_image_is_chosen_on_some_trainings_and_judged_on_the_others() -> None:
    scores, included = trainings(np.random.default_rng(0), 300, [0.0, 0.0, 4.0, 0.0])
    found = many_run_bound(scores, included, delta=1e-5)
    called = scores[100:, 2] >= found.threshold
    assert found.image == 2
    assert 0.0 < found.threshold < 4.0
    assert found.outcome.false_positives == (called & ~included[100:, 2]).sum()
    assert 1.0 < found.epsilon < gaussian_epsilon(4.0, 1e-5)


def test_perfect_trainings_give_the_closed_form_and_others_nothing() -> None:
    included = np.arange(60)[:, None] % 2 == 0
    perfect = many_run_bound(included.astype(float), included)
    assert perfect.epsilon == pytest.approx(float(epsilon_from_counts(0, 20, 0, 20)))
    assert perfect.epsilon == pytest.approx(math.log(0.025 ** (1 / 20) / (1 - 0.025 ** (1 / 20))))
    nothing = many_run_bound(np.zeros((60, 1)), included)
    assert (nothing.epsilon, nothing.highest_possible) == (0.0, pytest.approx(perfect.epsilon))


def test_trainings_that_do_not_judge_an_image_are_left_out() -> None:
    scores, included = trainings(np.random.default_rng(1), 90, [3.0])
    some = scores.copy()
    some[::3] = np.nan
    found = many_run_bound(some, included)
    assert found.outcome.n_member + found.outcome.n_holdout == 40


def test_the_threshold_of_all_images_serves_where_an_image_s_own_is_no_better() -> None:
    scores, included = trainings(np.random.default_rng(4), 30, [6.0] * 40)
    found = many_run_bound(scores, included)
    assert found.threshold == most_accurate_threshold(Scored(scores[:10].ravel(), included[:10].ravel()))
    assert found.epsilon == found.highest_possible > 0.0


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_bounds_hold_for_simulated_mechanisms(mu: float) -> None:
    rng, runs = np.random.default_rng(2), 100
    delta, truth = 0.02, gaussian_epsilon(mu, 0.02)
    epsilons = [many_run_bound(*trainings(rng, 150, [mu, mu]), delta=delta).epsilon for _ in range(runs)]
    assert (np.array(epsilons) > truth).sum() <= runs * 0.05 + 2 * math.sqrt(runs * 0.05 * 0.95)


def test_too_few_trainings_are_refused() -> None:
    with pytest.raises(UserError, match="4 trainings are too few"):
        many_run_bound(np.zeros((4, 2)), np.ones((4, 2), dtype=bool))
