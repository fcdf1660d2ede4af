"""Splits: disjoint, seeded, balanced where an attack is judged, and refused where they can't be made."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secmi_exp.data.split import Halves, Part, Split
from secmi_exp.errors import UserError


def halves(n: int, **settings: Any) -> Split:
    defaults = {"ratio": 0.5, "members": None, "holdouts": None, "attack_train": 0.2, "calibration": 0.25, "seed": 0}
    return Halves(**(defaults | settings)).split(n)


@given(n=st.integers(60, 500), ratio=st.floats(0.3, 0.7), seed=st.integers(0, 100))
def test_sides_are_disjoint_and_the_attacked_samples_are_balanced(n: int, ratio: float, seed: int) -> None:
    split = halves(n, ratio=ratio, seed=seed)
    assert len(np.union1d(split.members, split.holdouts)) == len(split.members) + len(split.holdouts) == n
    assert split.is_member.sum() == (~split.is_member).sum() == min(len(split.members), len(split.holdouts))
    assert np.isin(split.attacked[split.is_member], split.members).all()
    assert np.isin(split.attacked[~split.is_member], split.holdouts).all()
    for part in Part:
        chosen = split.is_member[split.of_part(part)]
        assert chosen.sum() * 2 == len(chosen) > 0


def test_a_fifth_of_each_side_is_for_the_attack_to_learn_from() -> None:
    split = halves(1000)
    assert split.of_part(Part.FIT, Part.CALIBRATION).sum() == 200
    assert split.of_part(Part.CALIBRATION).sum() == 50
    assert split.of_part(Part.EVALUATION).sum() == 800


def test_order_of_the_attacked_samples_tells_nothing_of_membership() -> None:
    assert (np.diff(halves(1000).attacked) > 0).all()


def test_seed_decides_the_split() -> None:
    assert (halves(100, seed=1).members == halves(100, seed=1).members).all()
    assert (halves(100, seed=1).members != halves(100, seed=2).members).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": 0}, "empty side, 0 members"),
        ({"members": 100}, "empty side, 100 members and 0 hold-outs"),
        ({"members": 80, "holdouts": 30}, "80 members and 30 hold-outs, but the dataset has 100"),
        ({"members": 5}, "5 samples a side are too few"),
    ],
)
def test_impossible_splits_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        halves(100, **settings)
