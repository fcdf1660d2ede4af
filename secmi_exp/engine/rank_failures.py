"""Why another rank has failed or ended, so that rank 0 can report it in a sentence.

A rank that fails by itself reports the reason to rank 0 before it ends; one that ends without a report was killed.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from secmi_exp.errors import UserError, first_line
from secmi_exp.files.storage_errors import AGAIN, error_number, failing_path

SETTLE_S = 3.0
"""How long rank 0 waits to know why another rank's connection has broken."""

LOST = re.compile(r"gloo|nccl|connection|remote (worker|process)|socket", re.IGNORECASE)
"""Words in the backends' errors about a lost connection."""


@dataclass(frozen=True)
class Failure:
    """Why a rank has failed, as it reports it."""

    message: str
    mistake: bool
    """Whether the message is a `UserError`'s sentence."""
    lost: bool
    """Whether it has failed only because another rank has gone."""
    number: int | None = None
    """Error number of the file system, where it has failed."""
    path: str | None = None
    """The file that could not be used."""

    @classmethod
    def from_exception(cls, error: Exception) -> "Failure":
        """Describe an exception."""
        number, path = error_number(error), failing_path(error)
        lost = number is None and isinstance(error, RuntimeError) and bool(LOST.search(str(error)))
        return cls(
            str(error) if isinstance(error, UserError) else first_line(error),
            isinstance(error, UserError),
            lost,
            number,
            str(path) if path else None,
        )

    @property
    def reported_by_rank_0(self) -> bool:
        """Whether rank 0 reports it in a sentence; anything else is a fault of the program and ends in a traceback."""
        return self.mistake or self.lost or self.number is not None

    def as_error(self, member: "Member") -> Exception:
        """Return the exception that rank 0 raises."""
        if self.mistake:
            return UserError(self.message)
        if self.number:
            return OSError(self.number, os.strerror(self.number), self.path)
        if self.number == 0:
            return RuntimeError(self.message)  # whose message is recognised
        return RuntimeError(f"{member} has failed ({self.message}): see its output above.")


@dataclass(frozen=True)
class Member:
    """A rank other than 0, as rank 0 sees it."""

    rank: int
    pid: int
    host: str
    child: "subprocess.Popen[bytes] | None" = None
    """The process, where rank 0 has started it."""

    def __str__(self) -> str:
        return f"Rank {self.rank} (process {self.pid} on {self.host})"

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have ended, which can't be seen of another machine."""
        if self.child:
            return self.child.poll() is not None
        return self.host == socket.gethostname() and not _is_running(self.pid)

    def killed(self, stage: str) -> UserError:
        """Return the error for a rank that has ended without a report."""
        status = self.child.returncode if self.child else None
        if status is None:
            how = "has ended without a report, as a killed process does (see its launcher's output)"
        elif status >= 0:
            how = f"has ended with status {status} (see its output above)"
        else:
            how = f"was ended by {signal.Signals(-status).name}"
            if -status == signal.SIGKILL:
                how += ", as the system does where memory runs out"
        return UserError(f"{self} {how}, in the stage {stage}, which can't go on without it; {AGAIN}.")


def introduce(store: TCPStore, rank: int) -> None:
    """Tell rank 0 that this rank has joined, with its process and host."""
    store.set(f"rank {rank}", json.dumps([os.getpid(), socket.gethostname()]))


def read_introduction(store: TCPStore, rank: int) -> Member:
    """Read the process and host of a rank that has joined."""
    pid, host = json.loads(store.get(f"rank {rank}"))
    return Member(rank, pid, host)


def report_failure(store: TCPStore, rank: int, failure: Failure) -> None:
    """Leave in the shared store, for rank 0, why this rank has failed."""
    try:
        store.set(f"failure of rank {rank}", json.dumps(asdict(failure)))
    except RuntimeError:  # rank 0 has gone, and the store with it
        return


def reported_failure(store: TCPStore, member: Member) -> Failure | None:
    """Read a rank's report; None where there is none."""
    name = f"failure of rank {member.rank}"
    return Failure(**json.loads(store.get(name))) if store.check([name]) else None


def find_reason(store: TCPStore, members: Sequence[Member], stage: str, error: Exception) -> Exception | None:
    """Find out why a stage has failed on rank 0, where another rank is the cause.

    Args:
        store: the store through which the ranks communicate.
        members: the other ranks.
        stage: name of the stage.
        error: the error on rank 0.

    Returns:
        What is to be raised instead; None where it is rank 0's own error.
    """
    deadline = time.monotonic() + SETTLE_S  # the connection may break before the system knows of the end
    while True:
        ended = [member for member in members if member.has_ended]  # before the reports, which come before the end
        reports = {member: reported_failure(store, member) for member in members}
        for member, failure in reports.items():
            if failure and not failure.lost:
                return failure.as_error(member)
        for member in ended:
            if not reports[member]:
                return member.killed(stage)
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if not Failure.from_exception(error).lost:
        return None
    others = ", ".join(f"{member.rank} on {member.host}" for member in members)
    return UserError(
        f"Rank 0 has lost another rank in the stage {stage} ({first_line(error)}), one of {others}: see their "
        f"launcher's output; {AGAIN}."
    )


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # one that has ended, and whose parent has not asked for its status yet, is there still
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True
