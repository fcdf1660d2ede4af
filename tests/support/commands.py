"""Runs of the real command, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CONF = REPOSITORY / "conf"
SMOKE = ["experiment=smoke", "trainer=cpu"]
NN = [
    "+attack=nn", "attack.scorers.nn.network=small", "attack.scorers.nn.small.steps=[24]", "attack.stacked=[]", *SMOKE
]  # fmt: skip


Refused = Callable[..., str]
"""What the command writes to standard error in this process, where it ends by a mistake; see the fixture `refused`."""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def folder(self) -> Path:
        """The run's directory: the last line of standard output."""
        return Path(self.stdout.splitlines()[-1])


class Command:
    """`python -m secmi_exp` in a folder of its own, without credentials."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WANDB")},
            "HOME": str(folder),
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "120",
        }
        self.module = [sys.executable, "-m", "secmi_exp"]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start it, in a process group of its own."""
        return subprocess.Popen(
            [*self.module, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in a background
        )

    @contextmanager
    def running(self, condition: Callable[[Path], bool], *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The started command as soon as its store meets a condition; nothing of it is left at the end."""
        process = self.start(*arguments)
        try:
            deadline = time.monotonic() + 200
            while not condition(self.folder / "outputs/store"):
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline, "the condition never came"
                time.sleep(0.01)
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def __call__(self, *arguments: str, **environment: str) -> Finished:
        """Run it to its end."""
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate(timeout=240)
        return Finished(process.returncode, stdout, stderr)

    def kill_when(self, condition: Callable[[Path], bool], *arguments: str) -> None:
        """Start it, and kill -9 it with all its children as soon as the store meets the condition."""
        process = self.start(*arguments)
        deadline = time.monotonic() + 120
        while not condition(self.folder / "outputs/store"):
            assert process.poll() is None, f"ended before it could be killed:\n{process.communicate()[1]}"
            assert time.monotonic() < deadline, "the condition never came"
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL


def training(store: Path) -> bool:
    """Whether a target is being trained and has left a checkpoint."""
    return any(store.glob("work/target-*/scratch/checkpoints/*.ckpt"))


@dataclass(frozen=True)
class SmokeRun:
    """A finished run of the whole path."""

    command: Command
    finished: Finished
