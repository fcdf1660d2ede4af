"""Batches: every sample once an epoch, the same again when resumed, and one pass in order."""

from itertools import islice

import numpy as np

from secmi_exp.data.batches import ArrayRows, ShuffledOrder, in_order


def test_an_epoch_shows_every_sample_once_and_epochs_differ() -> None:
    batches = list(islice(ShuffledOrder(12, batch_size=4, seed=0), 6))
    first, second = np.concatenate(batches[:3]), np.concatenate(batches[3:])
    assert sorted(first) == sorted(second) == list(range(12))
    assert (first != second).any()


def test_an_order_started_at_a_step_continues_the_one_from_the_beginning() -> None:
    whole = list(islice(ShuffledOrder(10, batch_size=3, seed=5), 11))
    resumed = list(islice(ShuffledOrder(10, batch_size=3, seed=5, start=4), 7))
    assert all((a == b).all() for a, b in zip(whole[4:], resumed, strict=True))


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    assert sorted(next(iter(ShuffledOrder(3, batch_size=64, seed=0)))) == [0, 1, 2]


def test_one_pass_in_order_covers_the_uneven_end_and_can_start_midway() -> None:
    rows = np.arange(10)
    seen = [batch[0].tolist() for batch in in_order(rows, batch_size=4, start=3)]
    assert seen == [[3, 4, 5, 6], [7, 8, 9]]


def test_batches_are_copies() -> None:
    rows = np.zeros(4)
    ArrayRows(rows)[slice(0, 2)][0][:] = 1
    assert not rows.any()
