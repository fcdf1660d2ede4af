"""Batches: every sample once an epoch, the same again when resumed, whole on however many devices."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secmi_exp.engine import ranks
from secmi_exp.engine.batches import ArrayRows, ResidentRows, ShuffledOrder


def batches(order: ShuffledOrder, number: int) -> list[np.ndarray]:
    return [rows for rows, _ in islice(order, number)]


def test_an_epoch_shows_every_sample_once_and_epochs_differ() -> None:
    seen = batches(ShuffledOrder(12, batch_size=4, seed=0), 6)
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(12))
    assert (first != second).any()


def test_an_order_started_at_a_step_continues_the_one_from_the_beginning() -> None:
    whole = batches(ShuffledOrder(10, batch_size=3, seed=5), 11)
    resumed = batches(ShuffledOrder(10, batch_size=3, seed=5, start=4), 7)
    assert all((a == b).all() for a, b in zip(whole[4:], resumed, strict=True))


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    assert sorted(batches(ShuffledOrder(3, batch_size=64, seed=0), 1)[0]) == [0, 1, 2]


@given(batch_size=st.integers(6, 20), world_size=st.integers(1, 3), parts=st.integers(1, 2))
def test_the_pieces_of_all_ranks_make_up_the_batch(batch_size: int, world_size: int, parts: int) -> None:
    whole = batches(ShuffledOrder(40, batch_size, seed=1, start=3), 1)[0]
    pieces = []
    for rank in range(world_size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranks, "_current", RankInfo(rank, world_size))
            pieces += list(islice(ShuffledOrder(40, batch_size, seed=1, start=3, parts=parts), parts))
    assert np.concatenate([rows for rows, _ in pieces]).tolist() == whole.tolist()
    assert [row for _, piece in pieces for row in range(piece.start, piece.stop)] == list(range(batch_size))
    assert {piece.total for _, piece in pieces} == {batch_size}


def test_batches_are_copies() -> None:
    rows = np.zeros(4)
    ArrayRows(rows)[slice(0, 2)][0][:] = 1
    assert not rows.any()


def test_rows_on_a_device_are_the_same_rows() -> None:
    array = np.arange(10)
    resident = ResidentRows(array, device=torch.device("cpu"))
    for rows in (slice(2, 5), np.array([7, 0, 7])):
        assert resident[rows][0].tolist() == array[rows].tolist()
