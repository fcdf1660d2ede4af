"""The share of a collection that was used, and the images it takes to tell: coverage and power by simulation."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from secmi_exp.errors import UserError
from secmi_exp.evaluation.collection_size import least_share, power_curve, used_share

THRESHOLD = 0.5


def drawn(random: np.random.Generator, share: float, n: int, gain: float) -> np.ndarray:
    """Scores of a collection of which a share was used."""
    return random.normal(0, 1, n) + gain * (np.arange(n) < round(share * n))


@pytest.mark.parametrize("share", [0.2, 0.6])
@pytest.mark.parametrize("gain", [0.1, 1.5])
def test_the_interval_of_the_share_covers_and_the_bound_holds(share: float, gain: float) -> None:
    random = np.random.default_rng(0)
    covered, bounded, rounds = 0, 0, 300
    for _ in range(rounds):
        collection = drawn(random, share, 80, gain)
        members, holdouts = drawn(random, 1, 60, gain), drawn(random, 0, 60, gain)
        low, high = used_share(collection, members, holdouts, THRESHOLD).ci95
        covered += low <= share <= high
        bounded += least_share(collection, holdouts, THRESHOLD) <= share
    assert covered / rounds > 0.92
    assert bounded / rounds > 0.95


def test_an_attack_that_tells_nothing_leaves_the_share_open() -> None:
    found = used_share(np.tile([0.0, 1.0], 20), np.tile([0.0, 1.0], 20), np.tile([0.0, 1.0], 20), THRESHOLD)
    assert (found.value, found.ci95) == (None, (0.0, 1.0))


def test_all_and_none_are_told() -> None:
    members, holdouts = np.ones(200), np.zeros(200)
    assert used_share(members, members, holdouts, THRESHOLD).value == 1.0
    assert used_share(holdouts, members, holdouts, THRESHOLD).ci95[1] < 0.05
    assert least_share(holdouts, holdouts, THRESHOLD) == 0.0


def test_the_number_of_images_has_the_power_that_it_says() -> None:
    random = np.random.default_rng(1)
    population = np.array([NormalDist().inv_cdf((i + 0.5) / 400) for i in range(400)])
    curve = power_curve(population + 0.8, population, np.array([10.0, 40.0]), rounds=40, seed=0)
    n, (low, high) = int(curve.needed.images), curve.needed.ci95
    assert low <= n <= high < np.inf
    collections, others = random.normal(0.8, 1, (2000, n)), random.normal(0, 1, (2000, n))
    found = mannwhitneyu(collections, others, alternative="greater", axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.04)
    assert (curve.low <= curve.power).all()
    assert (curve.power <= curve.high).all()
    assert curve.power[0] < 0.8 < curve.power[1]


def test_an_attack_that_finds_nothing_needs_no_number_that_is_known() -> None:
    random = np.random.default_rng(2)
    curve = power_curve(random.normal(0, 1, 30), random.normal(0, 1, 30), np.array([10.0]), rounds=40, seed=0)
    assert curve.needed.ci95[1] == np.inf
    with pytest.raises(UserError, match="1 members and 30 hold-outs say nothing"):
        power_curve(np.ones(1), np.ones(30), np.array([10.0]), rounds=2, seed=0)
