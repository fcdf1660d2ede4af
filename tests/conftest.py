"""Fixtures that many tests use, and what makes all of them quick."""

import gc
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from secmi_exp.__main__ import main
from tests.support.commands import NN, Command, Finished, Refused, SmokeRun
from tests.support.configuration_files import parse_once
from tests.support.entry_points import search_once

gc.disable()  # until all is imported: nothing of it is garbage
parse_once()
search_once()
os.fdatasync = lambda fd, /: None  # type: ignore[assignment]  # processes are killed here, and no machine
settings.register_profile("any machine", deadline=None)  # a slow moment of a shared machine is no fault
settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    """What was imported stays, so that no collection has to go through it again."""
    gc.freeze()
    gc.set_threshold(5_000, 20, 50)  # what is imported later would be gone through too often
    gc.enable()


@pytest.fixture
def without_tmpdir(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes a temporary file or folder fails."""
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")


@pytest.fixture
def secmi(tmp_path: Path) -> Command:
    """The command in an empty folder."""
    return Command(tmp_path)


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Refused]:
    """Gives what the command writes to standard error in this process, where it ends by a mistake."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["secmi_exp", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        out, err = capfd.readouterr()
        assert out == ""
        return err

    yield run
    root.handlers[:], root.level = handlers, level
    for number, handler in signals.items():
        signal.signal(number, handler)


def once(command: Command, name: str, *arguments: str) -> Finished:
    """A command as it has ended; one for all workers, kept in its folder under a name."""
    kept = command.folder / f"{name}.json"
    with FileLock(command.folder / "lock"):
        if not kept.is_file():
            finished = command(*arguments)
            assert finished.returncode == 0, finished.stderr
            kept.write_text(json.dumps(asdict(finished)))
    return Finished(**json.loads(kept.read_text()))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> SmokeRun:
    """SecMI_NN on the smoke experiment with the default logger and no credentials; one for all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "smoke"
    folder.mkdir(exist_ok=True)
    command = Command(folder)
    return SmokeRun(command, once(command, "finished", *NN))


@pytest.fixture(scope="session")
def smoke_again(smoke: SmokeRun) -> Finished:
    """The same command once more, which finds all results in the store, with the imports on standard error."""
    command = Command(smoke.command.folder)
    command.module = [sys.executable, "-X", "importtime", "-m", "secmi_exp"]
    return once(command, "again", *NN, "logger=none")
