"""Which rank of its job this process is, and what the ranks exchange while they carry out a stage together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed

from secmi_exp.engine.rank_info import ALONE, RankInfo

T = TypeVar("T")


_current = ALONE


def rank_info() -> RankInfo:
    """This process's rank in the stage that it is carrying out; `ALONE` outside of stages on several devices."""
    return _current


def is_rank_0() -> bool:
    """Whether this process is the one that writes what the ranks have in common."""
    return _current.rank == 0


@contextmanager
def acting_as(info: RankInfo, local_world_size: int) -> Iterator[None]:
    """Be this rank for the time of a stage, with a share of the machine's processors.

    Args:
        info: the rank.
        local_world_size: ranks on this machine.
    """
    global _current
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // local_world_size))
    _current = info
    try:
        yield
    finally:
        _current = ALONE
        torch.set_num_threads(threads)


def broadcast(value: T) -> T:
    """Return rank 0's value on every rank."""
    if _current.world_size == 1:
        return value
    shared = [value]
    torch.distributed.broadcast_object_list(shared, src=0)
    return shared[0]


def all_reduce_sum(value: int) -> int:
    """Return the sum over all ranks on every rank."""
    if _current.world_size == 1:
        return value
    tensor = torch.tensor(value)
    torch.distributed.all_reduce(tensor)
    return int(tensor)


def barrier() -> None:
    """Return once every rank has come to this call."""
    all_reduce_sum(0)
