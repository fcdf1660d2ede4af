"""Whose doing a stage's failure is, among ranks of which some report and some can't."""

import errno
import os
import socket
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from secmi_exp.engine import rank_failures
from secmi_exp.engine.rank_failures import (
    Failure,
    Member,
    find_reason,
    introduce,
    read_introduction,
    report_failure,
)
from secmi_exp.errors import UserError

LOST = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [10.0.0.2]:49900. This is typical.")


class Meeting:
    """What ranks use of torch's TCPStore."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def set(self, name: str, value: str) -> None:
        self.kept[name] = value.encode()

    def get(self, name: str) -> bytes:
        return self.kept[name]

    def check(self, names: Sequence[str]) -> bool:
        return all(name in self.kept for name in names)


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(rank_failures, "SETTLE_S", 0.1)
    return Meeting()


def gone() -> int:
    """Number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


HERE = socket.gethostname()


def test_a_rank_that_another_launcher_has_started_and_that_has_gone_is_named(meeting: Any) -> None:
    introduce(meeting, 1)
    alive, dead = read_introduction(meeting, 1), Member(2, gone(), HERE)
    assert (alive.pid, alive.host, alive.has_ended, dead.has_ended) == (os.getpid(), HERE, False, True)
    report_failure(meeting, 1, Failure.from_exception(LOST))  # it has lost rank 2 as rank 0 has
    found = find_reason(meeting, [alive, dead], "walk_images", LOST)
    assert isinstance(found, UserError)
    assert str(found).startswith(f"Rank 2 (process {dead.pid} on {HERE}) has ended without a report")
    assert "in the stage walk_images" in str(found)


def test_one_that_has_ended_and_not_been_waited_for_has_ended() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Member(1, process.pid, HERE).has_ended
    assert process.wait() == 0


def test_what_a_rank_reports_goes_before_those_that_it_took_along(meeting: Any) -> None:
    report_failure(meeting, 2, Failure.from_exception(OSError(errno.EDQUOT, "Disk quota exceeded", "/store/x.npy")))
    found = find_reason(meeting, [Member(1, gone(), HERE), Member(2, gone(), HERE)], "walk_images", LOST)
    assert isinstance(found, OSError)
    assert (found.errno, found.filename) == (errno.EDQUOT, "/store/x.npy")


def test_what_happens_on_another_machine_is_told_as_far_as_it_is_known(meeting: Any) -> None:
    found = find_reason(meeting, [Member(1, 7, "node2"), Member(2, 7, "node3")], "train", LOST)
    assert isinstance(found, UserError)
    assert "Rank 0 has lost another rank in the stage train (" in str(found)
    assert "one of 1 on node2, 2 on node3" in str(found)


def test_an_error_of_rank_0_is_its_own(meeting: Any) -> None:
    assert find_reason(meeting, [Member(1, 7, "node2")], "train", RuntimeError("shapes differ")) is None
