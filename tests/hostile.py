"""One hostile input at a time, in a process of its own with limits on time and memory, and how that ended.

A case is a function without arguments that reads the input. It may end with a result or with a `UserError` that is one
sentence; whatever else happens is a fault. `tests/test_hostile_files.py` shows how tables of cases are run.
"""

import faulthandler
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import NoReturn

from secmi_exp.errors import UserError

MIB = 2**20
LONGEST_SENTENCE = 2000
"""Characters of a sentence that somebody may still read."""


class Ended(StrEnum):
    """How a case ended."""

    RESULT = "result"
    REFUSED = "refused"
    """By a `UserError` of one sentence."""
    NO_SENTENCE = "no sentence"
    """By a `UserError` of several lines, without end, or with characters that control a terminal."""
    TRACEBACK = "traceback"
    HANG = "hang"
    MEMORY = "memory"
    DIED = "died"
    """By a signal, such as SIGSEGV or SIGBUS."""


@dataclass(frozen=True)
class Limits:
    """What a case may take."""

    seconds: float = 20.0
    mib: int = 400
    """Resident memory beyond what the process had before."""
    reserved_mib: int = 4096
    """The same of addresses, allocated and never used ones too; beyond it, allocations fail with MemoryError."""


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    ended: Ended
    told: str
    """The result's repr, the sentence, or the traceback; for a hang, where it was."""
    seconds: float = 0.0
    mib: float = 0.0
    """Resident memory that it took at most, beyond what the process had before."""

    @property
    def good(self) -> bool:
        """Whether it is no fault."""
        return self.ended in (Ended.RESULT, Ended.REFUSED)


def run_case(case: Callable[[], object], limits: Limits = Limits()) -> Outcome:
    """Carry out a case in a fork of this process, which has imported what it needs, and kill what it leaves behind.

    Args:
        case: whose result has a short repr.
        limits: that it must stay within.
    """
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.close(reading)
        _carry_out(case, limits, writing)
    os.close(writing)
    told = _read_until(reading, started + limits.seconds + 0.5)
    os.close(reading)
    _kill_group(child)
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - started
    try:
        outcome = Outcome(**json.loads(told))
    except ValueError:  # it has not come to tell; `told` is where faulthandler saw it
        killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        late = seconds > limits.seconds
        return Outcome(Ended.HANG if late else Ended.DIED, f"signal {killer}: {told}", seconds)
    return Outcome(Ended(outcome.ended), outcome.told, seconds, outcome.mib)


def run_together(cases: Mapping[str, Callable[[], object]], limits: Limits) -> Outcome:
    """Carry out several cases one after the other in one fork, which is quicker; the first fault ends it.

    Args:
        cases: by the names that they are told by.
        limits: of all of them together.
    """

    def all_of_them() -> int:
        for name, case in cases.items():
            ended, told = _outcome(case)
            if ended not in (Ended.RESULT, Ended.REFUSED):
                raise AssertionError(f"{name}: {ended}: {told}")
        return len(cases)

    return run_case(all_of_them, limits)


def count(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many were tried, and how many ended how."""
    counted = Counter(str(outcome.ended) for outcome in outcomes)
    return {"tried": counted.total(), **{str(ended): counted[str(ended)] for ended in Ended}}


def _carry_out(case: Callable[[], object], limits: Limits, writing: int) -> NoReturn:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.enable(writing)
    faulthandler.dump_traceback_later(limits.seconds, file=writing)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # OpenMP's threads of the parent are not here, and would be waited for
    before = _resident_mib()
    reserved = _pages(0) + limits.reserved_mib * MIB
    resource.setrlimit(resource.RLIMIT_AS, (reserved, reserved))
    ended, told = _outcome(case)
    faulthandler.cancel_dump_traceback_later()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    if ended != Ended.TRACEBACK and grown > limits.mib:
        ended, told = Ended.MEMORY, f"{grown:.0f} MiB: {told}"
    content = json.dumps(asdict(Outcome(ended, told, mib=grown))).encode()
    while content:
        content = content[os.write(writing, content) :]
    os._exit(0)


def _outcome(case: Callable[[], object]) -> tuple[Ended, str]:
    try:
        told = repr(case())
    except UserError as error:
        told = str(error)
        if "MemoryError" in told or "Unable to allocate" in told:
            return Ended.MEMORY, told[:LONGEST_SENTENCE]
        if len(told) > LONGEST_SENTENCE or not told.isprintable() or not told:
            return Ended.NO_SENTENCE, repr(told[:LONGEST_SENTENCE])
        return Ended.REFUSED, told
    except MemoryError:
        return Ended.MEMORY, traceback.format_exc(limit=-8)
    except BaseException:
        return Ended.TRACEBACK, traceback.format_exc(limit=-8)
    return Ended.RESULT, told[:LONGEST_SENTENCE]


def _pages(field: int) -> int:
    """Bytes by a field of /proc/self/statm: 0 is addresses, 1 resident memory."""
    with open("/proc/self/statm", encoding="ascii") as told:  # noqa: PTH123  (nothing of pathlib's in between)
        return int(told.read().split()[field]) * resource.getpagesize()


def _resident_mib() -> float:
    return _pages(1) / MIB


def _read_until(reading: int, deadline: float) -> str:
    """What is written until the other end is closed, or the time is over."""
    content = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            piece = os.read(reading, 2**16)
            if not piece:
                break
            content += piece
    return content.decode("utf-8", "replace")


def _kill_group(leader: int) -> None:
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(leader, signal.SIGKILL)
