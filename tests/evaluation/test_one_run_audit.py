"""Which samples an audit guesses, and what that gains."""

import math

import numpy as np
import pytest

from secmi_exp.evaluation.gaussian_privacy import gaussian_epsilon, largest_refuted_mu
from secmi_exp.evaluation.one_run import one_run_epsilon
from secmi_exp.evaluation.one_run_audit import Guesses, audit, choose_guesses, count_correct
from secmi_exp.evaluation.scored import Scored
from tests.support.gaussian_mechanisms import coin_scores


def test_most_confident_guesses_refute_more_than_all() -> None:
    rng = np.random.default_rng(0)
    for mu in (1.0, 2.0):
        evaluation, calibration = coin_scores(rng, 1000, mu), coin_scores(rng, 300, mu)
        found = audit(evaluation, calibration, delta=1e-5)
        right = int(((evaluation.scores >= mu / 2) == evaluation.is_member).sum())
        assert found.guesses.chosen
        assert found.guesses.count < 500
        assert found.epsilon == one_run_epsilon(found.correct, found.guesses.count, 1000, delta=1e-5)
        assert found.epsilon > 1.3 * one_run_epsilon(right, 1000, 1000, delta=1e-5)
        assert found.mu == largest_refuted_mu(found.correct, found.guesses.count, 1000) < mu
        assert found.epsilon < found.gaussian_epsilon == gaussian_epsilon(found.mu, 1e-5) < gaussian_epsilon(mu, 1e-5)


def test_choice_never_looks_at_the_labels_of_the_audited_samples() -> None:
    rng = np.random.default_rng(1)
    evaluation, calibration = coin_scores(rng, 400, 2.0), coin_scores(rng, 100, 2.0)
    turned = Scored(evaluation.scores, ~evaluation.is_member)
    found, other = (audit(each, calibration, delta=1e-5) for each in (evaluation, turned))
    assert found.guesses == other.guesses == choose_guesses(calibration, 400, delta=1e-5)
    assert found.correct + other.correct == found.guesses.count
    assert other.epsilon == other.mu == other.gaussian_epsilon == 0.0


def test_a_fixed_rule_decides_where_there_are_few_other_samples() -> None:
    few = Scored(np.arange(18.0), np.arange(18) > 8)
    assert choose_guesses(few, 200, delta=0.0) == Guesses(20, 20, chosen=False)


def test_one_sided_scores_are_guessed_on_their_side() -> None:
    rng = np.random.default_rng(2)
    is_member = rng.random(400) < 0.5
    scores = rng.normal(size=400) + 10.0 * (is_member & (rng.random(400) < 0.2))  # a fifth of the members stands out
    guesses = choose_guesses(Scored(scores, is_member), 1600, delta=1e-5)
    assert 80 <= guesses.members <= 200
    assert guesses.holdouts < guesses.members / 2


def test_equal_scores_are_guessed_in_an_order_that_the_rows_do_not_decide() -> None:
    scored = Scored(np.zeros(1000), np.arange(1000) >= 500)  # all members come last
    assert 400 < count_correct(scored, Guesses(500, 500, chosen=False)) < 600


def test_perfect_guesses_give_the_closed_form_and_no_information_gives_nothing() -> None:
    is_member = np.arange(100) % 2 == 0
    perfect = audit(Scored(is_member.astype(float), is_member), Scored(np.zeros(2), is_member[:2]), delta=0.0)
    least = 0.05 ** (1 / 20)  # ten guesses on either side
    assert perfect.correct == 20
    assert perfect.epsilon == pytest.approx(math.log(least / (1 - least)), abs=1e-5)
    rng = np.random.default_rng(3)
    epsilons = [
        audit(coin_scores(rng, 200, 0.0), coin_scores(rng, 60, 0.0), delta=1e-5).gaussian_epsilon for _ in range(40)
    ]
    assert np.mean(np.array(epsilons) > 0.0) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 40)


@pytest.mark.slow
@pytest.mark.parametrize("mu", [0.25, 0.5, 1.0, 2.0, 3.0, 4.0])
def test_chosen_guesses_refute_no_more_than_is_true(mu: float) -> None:
    rng, runs, truth = np.random.default_rng(4), 2000, gaussian_epsilon(mu, 1e-5)
    found = [audit(coin_scores(rng, 400, mu), coin_scores(rng, 100, mu), delta=1e-5) for _ in range(runs)]
    allowed = runs * 0.05 + 2 * math.sqrt(runs * 0.05 * 0.95)
    assert sum(each.epsilon > truth for each in found) <= allowed
    assert sum(each.mu > mu for each in found) <= allowed
