"""Processes that work for another one end with it, however that ends, so that none goes on unwatched and keeps locks.

Ranks have their own means; see `rank_group.main`.
"""

import functools
import multiprocessing
import os
import threading
import time

LOOK_EVERY_S = 0.5


def end_with_parent() -> None:
    """Where Python's multiprocessing has started this process for another one, end at once when that has ended."""
    _watch_parent_of(os.getpid())


@functools.cache  # by process: one that is forked watches its own parent
def _watch_parent_of(process: int) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        threading.Thread(target=_wait_for_end, args=(parent.pid,), daemon=True).start()


def _wait_for_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os._exit(1)  # with nothing written or cleaned up, as if it had been killed too
