"""What tells one process of a job from the others."""

import os
import sys
from dataclasses import dataclass
from typing import NoReturn


@dataclass(frozen=True)
class RankInfo:
    """One process of a job: its number among all, and where they meet."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    node: int = 0
    address: str = "127.0.0.1"
    """Address at which rank 0 listens."""
    port: int = 0


ALONE = RankInfo()


def end_process(status: int) -> NoReturn:
    """End a rank other than the first at once, without the clean-up in which libraries' threads may abort it."""
    sys.stderr.flush()
    os._exit(status)
