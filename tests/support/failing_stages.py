"""Stages that fail on one of two ranks."""

import errno
import os
import signal

from secmi_exp.engine.collectives import all_reduce_sum, rank_info
from secmi_exp.errors import UserError


def fails(how: str) -> None:
    """Rank 1 fails; rank 0 waits for it in the way that stages do."""
    if rank_info().rank == 1:
        match how:
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exits":
                os._exit(3)
            case "mistake":
                raise UserError("That was a mistake.")
            case "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case "fault":
                raise KeyError("a fault")
    all_reduce_sum(1)


def waits() -> None:
    """Rank 1 is killed, and rank 0 waits for it where no error comes, as NCCL does."""
    if rank_info().rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
