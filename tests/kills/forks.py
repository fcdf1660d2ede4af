"""Commands in forks of this process, each in a folder of its own, and the queries that they make."""

import atexit
import gc
import json
import mmap
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kills.operations import FileOperations, Operation

TIME_LIMIT_S = 240.0

Main = Callable[[], None]


@dataclass
class Ended:
    """A process that has run a command."""

    status: int
    """Exit status; negative: the signal that has ended it; `HUNG` where it was ended by the time limit."""
    output: str
    operations: list[Operation]


HUNG = -1000


class QueryCounter:
    """Queries that processes have really made, in memory that forks share."""

    def __init__(self) -> None:
        self.shared = mmap.mmap(-1, 8)

    def add(self, number: int) -> None:
        self.shared[:] = (self.value + number).to_bytes(8, "little")

    @property
    def value(self) -> int:
        return int.from_bytes(self.shared[:], "little")

    def clear(self) -> None:
        self.shared[:] = bytes(8)


QUERIES = QueryCounter()


def count_queries() -> None:
    from secmi_exp.diffusion.noise_predictor import NoisePredictor

    for name in ("predict_noise", "predict_image"):
        predict = getattr(NoisePredictor, name)

        def counted(self: Any, x_t: Any, *others: Any, _predict: Any = predict, **named: Any) -> Any:
            QUERIES.add(len(x_t) * self.evaluations)
            return _predict(self, x_t, *others, **named)

        setattr(NoisePredictor, name, counted)


def in_fork(
    main: Main,
    folder: Path,
    *,
    at: int | None = None,
    moment: str = "before",
    state: Callable[[Path], str] | None = None,
    seconds: float = TIME_LIMIT_S,
) -> Ended:
    """Run in a fork, in a folder of its own, with a $TMPDIR of its own.

    Args:
        main: what is run.
        folder: for it.
        at: operation to be killed at; None: none.
        moment: of it.
        state: gives a digest of the folder, which is noted with each operation.
        seconds: after which it is ended.
    """
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(folder.name + ".told")
    with beside.open("wb") as output, beside.with_suffix(".operations").open("wb") as note:
        gc.freeze()  # or collections in the fork would copy all memory
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.environ["TMPDIR"] = str(folder / "tmp")
            tempfile.tempdir = None
            os.chdir(folder)
            sys.addaudithook(FileOperations(folder, note.fileno(), at, moment, state))
            os._exit(_status_of(main))
    deadline = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.005)
    status = os.waitstatus_to_exitcode(ended[1]) if ended[0] else HUNG
    operations = [Operation(**json.loads(line)) for line in beside.with_suffix(".operations").read_bytes().splitlines()]
    return Ended(status, beside.read_text(errors="replace"), operations)


def _status_of(main: Main) -> int:
    try:
        main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status
