"""SIGTERM ends a run in one sentence with status 143, as SIGINT does with 130, so that whatever waits for it sees that.

SIGTERM is what `kill`, `timeout`, SLURM and Kubernetes send. SIGHUP keeps its default: it ends the process at once, by
the signal, when nobody is left to read a sentence.
"""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

AGAIN_S = 0.5
"""Seconds after which the exception is raised once more, where it has got lost."""


class Terminated(SystemExit):
    """SIGTERM has come. No exception that a job of a sweep may end with, so that no further jobs start."""


def raise_on_sigterm() -> None:
    """Let SIGTERM raise `Terminated` in the main thread from now on, unless whoever started this process ignores it.

    An exception that is raised within a finalizer gets lost, as when a file object is being collected. Hence it is
    raised again and again until it is being handled somewhere.
    """
    if sys.platform != "win32" and signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGALRM, _terminate)


def stop_raising() -> None:
    """The end has been told: nothing is raised any more."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, 0)


def _terminate(number: int, frame: FrameType | None) -> None:
    if _is_being_handled(sys.exception()):
        return  # `timeout` sends the signal twice, and what cleans up must not be interrupted
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)
    raise Terminated(128 + signal.SIGTERM)


def _is_being_handled(error: BaseException | None) -> bool:
    return error is not None and (isinstance(error, Terminated) or _is_being_handled(error.__context__))


def keep_handler() -> Callable[..., None]:
    """A function that puts back the handler of SIGTERM that there is now.

    Lightning's own, which it installs in every fit, ends the process with status 0 and hides the signal from a launcher
    of SLURM's jobs that handles it.
    """
    handler = signal.getsignal(signal.SIGTERM)

    def put_back(*arguments: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)

    return put_back
