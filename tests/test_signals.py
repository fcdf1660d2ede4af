"""SIGTERM ends a run with 143 and a sentence in whatever it is doing; the same command continues where it was."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.commands import NN, SMOKE, Command, SmokeRun, training
from tests.support.processes import TWO, children, gone, in_classifier, in_training, in_walk

FOR_EVER = ["logger=none", *SMOKE, "target.max_steps=100000", "target.checkpoint_every=5"]
SENTENCE = "secmi_exp: ended by SIGTERM; the same command continues where it was."


def decoding(store: Path) -> bool:
    return any(store.glob("work/images-*"))


def started(store: Path) -> bool:
    return any(store.parent.glob("*/*/*/.hydra/config.yaml"))


def terminated(process: subprocess.Popen[str]) -> str:
    """What a process wrote on standard error that SIGTERM has ended as it should."""
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert stderr.splitlines()[-1] == SENTENCE
    assert "Traceback" not in stderr
    assert stdout == ""
    return stderr


SWALLOWED = """
import io, os, signal, time
from secmi_exp.engine.sigterm import Terminated, raise_on_sigterm

class File(io.IOBase):
    @property
    def closed(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return True

raise_on_sigterm()
File()  # collected at once; Python drops what its `closed` raises then
try:
    time.sleep(20)
finally:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1.2)  # which nothing interrupts
    print("cleaned up")
"""


def test_sigterm_in_a_finalizer_is_not_lost_and_a_second_one_interrupts_no_cleaning_up() -> None:
    finished = subprocess.run([sys.executable, "-c", SWALLOWED], capture_output=True, text=True, timeout=60)
    assert (finished.returncode, finished.stdout) == (143, "cleaned up\n")


@pytest.mark.slow
def test_sigterm_in_training_ends_a_sweep_with_its_first_job(secmi: Command) -> None:
    with secmi.running(training, "-m", "seed=0,1", *FOR_EVER) as process:
        process.terminate()
        terminated(process)
    assert [path.name for path in (secmi.folder / "outputs/sweeps").glob("*/*/[0-9]*")] == ["0"]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [in_training, in_walk, in_classifier], ids=lambda stage: stage.__name__)
def test_the_same_command_continues_to_the_undisturbed_result(
    secmi: Command, smoke: SmokeRun, stage: Callable[[Path], bool]
) -> None:
    arguments = [*NN, "logger=none", "attack.scorers.nn.checkpoint_every=10"]
    with secmi.running(stage, *arguments) as process:
        process.terminate()
        terminated(process)
    finished = secmi(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert ("Continuing" if stage is not in_walk else "Reused target") in finished.stderr
    table, undisturbed = (
        pq.read_table(folder / "scores.parquet") for folder in (finished.folder, smoke.finished.folder)
    )
    assert table.equals(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [started, decoding], ids=lambda stage: stage.__name__)
def test_sigterm_before_the_training(secmi: Command, stage: Callable[[Path], bool]) -> None:
    with secmi.running(stage, *FOR_EVER) as process:
        process.terminate()
        terminated(process)


@pytest.mark.slow
@pytest.mark.parametrize("group", [False, True], ids=["rank_0", "all"])
def test_sigterm_ends_all_ranks(secmi: Command, group: bool) -> None:
    with secmi.running(training, *FOR_EVER, TWO) as process:
        (rank_1,) = children(process.pid)
        if group:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        terminated(process)
        assert gone(rank_1)


@pytest.mark.slow
def test_sigterm_ends_jobs_side_by_side(secmi: Command) -> None:
    with secmi.running(training, "-m", "seed=0,1,2", *FOR_EVER, "hydra/launcher=workstation") as process:
        workers = children(process.pid)
        process.terminate()
        terminated(process)
        deadline = time.monotonic() + 20
        while not all(gone(worker) for worker in workers):
            assert time.monotonic() < deadline, "jobs outlive their sweep"
            time.sleep(0.1)
