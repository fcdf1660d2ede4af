"""Queries are counted whoever has made them, once."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from secmi_exp.engine.queries import counting_queries
from secmi_exp.store import Key, Store
from secmi_exp.store.query_tally import QueryTally
from tests.support.damaging import empty, flip, truncate, zero
from tests.support.walks import Waves

KEY = Key("values", 1, {"a": 1})


def ask(tally: QueryTally, images: int) -> None:
    predictor = Waves(0)
    with counting_queries([predictor], tally.file()):
        predictor.predict_noise(torch.zeros(images, 1, 4, 4), 0)


def ask_and_die(root: Path, images: int) -> None:
    torch.set_num_threads(1)
    ask(Store(root).tally(KEY), images)
    os.kill(os.getpid(), signal.SIGKILL)


def killed(root: Path, images: int) -> None:
    process = multiprocessing.get_context("fork").Process(target=ask_and_die, args=(root, images))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def left(root: Path) -> list[str]:
    return [path.name for path in (root / "work").iterdir()]


def test_queries_of_killed_processes_are_told_by_the_next_one_once(tmp_path: Path) -> None:
    killed(tmp_path, 3)
    killed(tmp_path, 4)
    store = Store(tmp_path)
    tally = store.tally(KEY)
    ask(tally, 5)
    ask(tally, 1)
    assert tally.unreported() == 13
    assert store.tally(KEY).unreported() == 0
    store.delete_tallies()
    assert left(tmp_path) == []
    assert Store(tmp_path).tally(KEY).unreported() == 0


def test_queries_of_a_run_that_goes_on_are_its_own_to_tell(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    ask(first.tally(KEY), 3)
    ask(second.tally(KEY), 4)
    assert (first.tally(KEY).unreported(), second.tally(KEY).unreported()) == (3, 4)
    first.delete_tallies()
    second.tally(KEY).close()  # as its end without results does
    assert Store(tmp_path).tally(KEY).unreported() == 4


def test_queries_of_a_process_that_ends_while_another_waits_for_it_are_told(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    ask(first.tally(KEY), 3)
    waiting = second.tally(KEY)
    first.tally(KEY).close()
    assert waiting.unreported() == 3


@pytest.mark.parametrize("damage", [flip, truncate, zero, empty], ids=lambda damage: damage.__name__)
def test_a_damaged_count_counts_nothing(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    killed(tmp_path, 3)
    (file,) = (tmp_path / "work").iterdir()
    damage(file)
    tally = Store(tmp_path).tally(KEY)
    ask(tally, 2)
    assert tally.unreported() == 2
