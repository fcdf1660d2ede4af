"""Processes of runs: children, and whether they have ended."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TWO = "trainer.devices=2"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def in_training(store: Path) -> bool:
    return any(store.glob("work/target-*/scratch/checkpoints/step=000000040.ckpt"))


def in_walk(store: Path) -> bool:
    return any(store.glob("work/t_errors-*/t_errors.npy"))


def in_classifier(store: Path) -> bool:
    return any(store.glob("work/scores-*/scratch/checkpoints/*.ckpt"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may get larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
