"""The harness itself tells every fault from a result and from a sentence."""

import ctypes
import time
from collections.abc import Callable

import numpy as np
import pytest

from secmi_exp.errors import UserError
from tests.hostile import Ended, Limits, Outcome, count, run_case, run_together


def refuse() -> None:
    raise UserError("There is no such image: name another.")


def refuse_without_words() -> None:
    raise UserError("")


FAULTS: dict[Ended, Callable[[], object]] = {
    Ended.RESULT: lambda: 3,
    Ended.REFUSED: refuse,
    Ended.NO_SENTENCE: refuse_without_words,
    Ended.TRACEBACK: lambda: 1 / 0,
    Ended.HANG: lambda: time.sleep(60),
    Ended.MEMORY: lambda: np.ones(2**28, np.uint8).sum(),  # far more than malloc keeps for later
    Ended.DIED: lambda: ctypes.string_at(0),
}


@pytest.mark.parametrize("ended", FAULTS)
def test_faults_are_told_apart(ended: Ended) -> None:
    limits = Limits(seconds=1 if ended is Ended.HANG else 20, mib=64)
    outcome = run_case(FAULTS[ended], limits)
    assert outcome.ended is ended, outcome
    assert outcome.good == (ended in (Ended.RESULT, Ended.REFUSED))


def test_memory_that_is_only_reserved_counts() -> None:
    assert run_case(lambda: np.empty(2**45, np.uint8)).ended is Ended.MEMORY


def test_cases_together_name_the_first_fault() -> None:
    assert run_together({"a": refuse, "b": lambda: 1}, Limits()).ended is Ended.RESULT
    outcome = run_together({"a": refuse, "b": lambda: 1 / 0}, Limits())
    assert outcome.ended is Ended.TRACEBACK
    assert "b: traceback" in outcome.told


def test_outcomes_are_counted() -> None:
    counted = count([Outcome(Ended.HANG, ""), Outcome(Ended.RESULT, "3"), Outcome(Ended.RESULT, "4")])
    assert (counted["tried"], counted["result"], counted["hang"], counted["traceback"]) == (3, 2, 1, 0)
