"""The excess over what is there without membership: its variance, its false alarms, and when one can't tell."""

import numpy as np
import pytest

from secmi_exp.evaluation.delong import paired_test
from secmi_exp.evaluation.excess import MOST_BLIND, Contrast, Verdict, answer, excess

N = 40


def contrast(first: np.ndarray, second: np.ndarray, group: np.ndarray | None = None) -> Contrast:
    n = len(first) + len(second)
    sides = np.repeat([True, False], [len(first), len(second)])
    return Contrast(np.concatenate([first, second]), sides, np.arange(n) if group is None else group)


def pairs(random: np.random.Generator, gain: float, start: int) -> Contrast:
    """Images whose scores vary, and surrogates that follow theirs and are easier by 1."""
    images = random.normal(0, 2, N)
    first, second = images + gain + random.normal(0, 1, N), images + 1 + random.normal(0, 1, N)
    return contrast(first, second, np.tile(np.arange(start, start + N), 2))


def test_on_the_same_images_it_is_delongs_difference() -> None:
    random = np.random.default_rng(0)
    attack, blind = random.normal(0, 1, 2 * N), random.normal(0, 1, 2 * N)
    is_member = np.repeat([True, False], N)
    group = np.arange(2 * N)
    found = excess(Contrast(attack, is_member, group), [Contrast(blind, is_member, group)])
    expected = paired_test(attack, blind, is_member, confidence=0.9)
    assert found.value == pytest.approx(expected.difference)
    assert found.ci90 == pytest.approx(expected.interval, abs=0.02)  # Student's instead of the normal one


def test_pairs_that_vary_together_cry_at_the_nominal_rate_and_find_a_gain() -> None:
    random = np.random.default_rng(1)
    rounds = 250
    null = [excess(pairs(random, 0, 0), [pairs(random, 0, N)]).p_value <= 0.05 for _ in range(rounds)]
    alone = [excess(pairs(random, 2, 0), []).p_value <= 0.05 for _ in range(50)]
    found = [excess(pairs(random, 2, 0), [pairs(random, 0, N)]).p_value <= 0.05 for _ in range(50)]
    assert 0.016 <= np.mean(null) <= 0.09
    assert np.mean(found) > 0.95
    assert np.mean(alone) > 0.5


def test_the_same_surrogates_on_both_sides_cancel() -> None:
    random = np.random.default_rng(2)
    surrogates, numbers = random.normal(0, 1, N), np.arange(N)
    first, second = (contrast(random.normal(1, 1, N), surrogates, np.concatenate([numbers + start, numbers]))
                     for start in (N, 2 * N))  # fmt: skip
    together = excess(first, [second])
    apart = excess(first, [Contrast(second.scores, second.first, second.group + 9 * N)])
    assert together.value == apart.value
    assert np.ptp(together.ci90) < np.ptp(apart.ci90)


def test_without_any_variance_it_is_a_sign_test() -> None:
    perfect = contrast(np.ones(N), np.zeros(N))
    assert excess(perfect, []).p_value == 0.5**N
    assert excess(perfect, [perfect]).p_value == 1.0
    assert excess(contrast(np.ones(1), np.zeros(1)), []).p_value == 1.0


@pytest.mark.parametrize("kind", list(MOST_BLIND))
def test_where_the_baseline_sees_too_much_there_is_no_figure(kind: str) -> None:
    perfect, blind = contrast(np.ones(N), np.zeros(N)), np.arange(2.0 * N)
    told = answer(kind, perfect, None, contrast(blind[N:], blind[:N]))  # type: ignore[arg-type]
    assert (told.verdict, told.excess, told.blind_auc) == (Verdict.CANNOT_TELL, None, 1.0)


def test_a_baseline_below_one_half_adds_nothing_to_the_excess() -> None:
    random = np.random.default_rng(3)
    attack, blind = contrast(random.normal(1, 1, N), random.normal(0, 1, N)), np.arange(2.0 * N)
    told = answer("references", attack, None, contrast(blind[:N], blind[N:]))
    assert told.verdict is Verdict.USED
    assert told.excess == excess(attack, [])
    unused = contrast(random.normal(0, 1, N), random.normal(0, 1, N))
    assert answer("references", unused, None, unused).verdict is Verdict.NO_SIGN
