"""What works for a killed process ends with it, and holds no lock of its afterwards."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from secmi_exp.data import decoding_processes
from secmi_exp.data.decoding_processes import decoded_in_order
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.data.samples import ArraySamples
from secmi_exp.engine.worker_processes import end_with_parent
from secmi_exp.store import Key, Store
from tests.support.commands import SMOKE, Command, training
from tests.support.processes import children, gone

KEY = Key("thing", 1, {}, files=("content.txt",))


class Slow(ArraySamples):
    """Images whose decoding takes longer than anyone waits, and that tell which process does it."""

    def open(self, row: int) -> Image.Image:
        Path(f"worker-{os.getpid()}").touch()
        time.sleep(60)
        return super().open(row)


def decode_slowly(folder: Path) -> None:
    os.chdir(folder)
    end_with_parent()  # as the command does first: what it forks later has to watch all the same
    decoding_processes.SAMPLES_A_WORKER, decoding_processes.BATCH = 1, 1
    decoding_processes.usable_processors = lambda: 2
    samples = Slow("made", "made", lambda: np.zeros((4, 8, 8, 3), np.uint8))

    def build(workspace: Path) -> None:
        list(decoded_in_order(samples, Preprocessing((8, 8), 3, None), 4, 0, False))

    Store(folder / "store").get_or_build(KEY, build)


def wait_until(condition: "partial[bool]", seconds: float, why: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, why
        time.sleep(0.02)


def all_gone(workers: list[int]) -> bool:
    return all(gone(worker) for worker in workers)


def test_processes_that_decode_end_with_a_killed_run_and_leave_its_locks(tmp_path: Path) -> None:
    run = multiprocessing.get_context("fork").Process(target=decode_slowly, args=(tmp_path,))
    run.start()
    wait_until(partial(lambda: len([*tmp_path.glob("worker-*")]) == 2), 60, "no worker has begun")
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")]
    assert run.pid not in workers
    os.kill(run.pid or 0, signal.SIGKILL)
    run.join()
    wait_until(partial(all_gone, workers), 30, "workers outlive their run")
    assert not Store(tmp_path / "store").get_or_build(KEY, lambda workspace: (workspace / "content.txt").touch()).reused


JOBS = """
import os, sys, time
from pathlib import Path
from joblib import Parallel, delayed
from secmi_exp.engine.worker_processes import end_with_parent

def job(number):
    end_with_parent()
    Path(f"worker-{os.getpid()}").touch()
    time.sleep(60)

Parallel(n_jobs=2, backend="loky")(delayed(job)(number) for number in range(4))
"""


@pytest.mark.slow
def test_workers_of_joblib_end_with_a_killed_parent(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", JOBS], cwd=tmp_path, env=environment)
    wait_until(partial(lambda: len([*tmp_path.glob("worker-*")]) == 2), 60, "no worker has begun")
    parent.kill()
    parent.wait()
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")]
    wait_until(partial(all_gone, workers), 5, "workers outlive their parent")


@pytest.mark.slow
def test_jobs_side_by_side_end_with_a_killed_sweep_and_leave_its_locks(secmi: Command) -> None:
    endless = ["logger=none", *SMOKE, "target.max_steps=100000", "target.checkpoint_every=5"]
    with secmi.running(training, "-m", "seed=0,1,2", *endless, "hydra/launcher=workstation") as process:
        workers = children(process.pid)
        assert len(workers) >= 2
        process.kill()
        process.wait()
        wait_until(partial(all_gone, workers), 5, "jobs outlive their sweep")
        for lock in (secmi.folder / "outputs/store/locks").iterdir():
            FileLock(lock).acquire(timeout=1).lock.release()
