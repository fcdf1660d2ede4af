"""Kills a command right before, within and right after each of its operations on files, and runs it again each time.

``python -m tests.killing smoke`` does so with one of `COMMANDS` and prints a report in JSON. All that a command imports is
imported once; each trial is a fork of that process, so that hundreds are affordable.
"""

import argparse
import atexit
import hashlib
import importlib
import json
import mmap
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")
"""Of Python's audit; os.replace and os.unlink raise the events of os.rename and os.remove."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MOMENTS = ("before", "within", "after")
"""Within: a file that is opened anew holds the first bytes of something; only where a file is created or emptied."""
TIME_LIMIT_S = 120.0

Main = Callable[[], None]


@dataclass(frozen=True)
class Operation:
    """What a command does to the files below its folder."""

    event: str
    path: str
    """Relative to the folder; of a rename both, with an arrow."""
    creates: bool
    """Whether it opens a file that is then empty."""

    def __str__(self) -> str:
        return f"{self.event} {self.path}"


@dataclass
class Ended:
    """A process that has run a command."""

    status: int
    """Exit status; negative: the signal that has ended it; `HUNG` where it was ended by the time limit."""
    output: str
    operations: list[Operation]


HUNG = -1000


class FileOperations:
    """An audit hook that notes the operations below a folder, and kills the process at one of them."""

    def __init__(self, folder: Path, note: int, at: int | None, moment: str):
        self.folder, self.note, self.at, self.moment = os.path.realpath(folder), note, at, moment
        self.count, self.at_work, self.process = 0, False, os.getpid()  # what it forks is not killed

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or self.at_work or os.getpid() != self.process:
            return
        self.at_work = True
        try:
            operation = self._operation(event, arguments)
            if operation:
                os.write(self.note, json.dumps(asdict(operation)).encode() + b"\n")
                if self.count == self.at:
                    self._die(operation, event, arguments)
                self.count += 1
        finally:
            self.at_work = False

    def _operation(self, event: str, arguments: tuple[Any, ...]) -> Operation | None:
        paths = [self._absolute(arguments[0], self._folder_of(event, arguments))]
        if event in ("os.rename", "os.link", "os.symlink"):
            paths.append(self._absolute(arguments[1], arguments[3] if len(arguments) > 3 else -1))
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return None
        below = [path[len(self.folder) + 1 :] for path in paths if path and path.startswith(self.folder + os.sep)]
        if not below:
            return None
        flags = arguments[2] if event == "open" else 0
        creates = bool(flags & os.O_TRUNC) or (bool(flags & os.O_CREAT) and not os.path.exists(str(paths[0])))
        return Operation(event, " → ".join(below), creates and not flags & os.O_TMPFILE == os.O_TMPFILE)

    def _folder_of(self, event: str, arguments: tuple[Any, ...]) -> int:
        place = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.link": 2}.get(event)
        return -1 if place is None else arguments[place]

    def _absolute(self, path: Any, folder: int) -> str | None:
        if isinstance(path, int):
            return os.path.realpath(f"/proc/self/fd/{path}")
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        start = f"/proc/self/fd/{folder}" if isinstance(folder, int) and folder >= 0 else os.getcwd()
        name = os.path.join(os.path.realpath(start), os.fsdecode(path))
        return os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))

    def _die(self, operation: Operation, event: str, arguments: tuple[Any, ...]) -> None:
        if self.moment != "before":
            self._carry_out(event, arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    def _carry_out(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Do what the process was about to do; it is killed before it can do it itself."""
        first, *others = arguments
        if event == "open":
            file = os.open(first, arguments[2], 0o666)
            if self.moment == "within":
                os.write(file, b'{"key": {"kind": "h')
            return
        folders = [place if isinstance(place, int) and place >= 0 else None for place in others]
        if event == "os.rename":
            os.replace(first, others[0], src_dir_fd=folders[1], dst_dir_fd=folders[2])
        elif event == "os.link":
            os.link(first, others[0])
        elif event == "os.symlink":
            os.symlink(first, others[0])
        elif event == "os.remove":
            os.remove(first, dir_fd=folders[0])
        elif event == "os.rmdir":
            os.rmdir(first, dir_fd=folders[0])
        elif event == "os.mkdir":
            os.mkdir(first, dir_fd=folders[1])
        else:
            os.truncate(first, others[0])


def announce_writers_in_c() -> None:
    """Make what writes files without Python's `open` tell the audit of it first."""
    import pyarrow.parquet
    import safetensors.torch
    import torch

    def announcing(module: Any, name: str, place: int) -> None:
        write = getattr(module, name)

        def announced(*arguments: Any, **named: Any) -> Any:
            path = arguments[place] if len(arguments) > place else None
            if isinstance(path, str | os.PathLike):
                sys.audit("open", os.fspath(path), "w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            return write(*arguments, **named)

        setattr(module, name, announced)

    announcing(pyarrow.parquet, "write_table", 1)
    announcing(torch, "save", 1)
    announcing(safetensors.torch, "save_file", 1)
    for module in list(sys.modules.values()):  # that have taken it by name
        if getattr(module, "__name__", "").startswith(("diffusers", "transformers", "secmi_exp")):
            if hasattr(module, "save_file"):
                module.save_file = safetensors.torch.save_file


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
    from secmi_exp.targets.noise_predictor import NoisePredictor

    for name in ("predict_noise", "predict_image"):
        predict = getattr(NoisePredictor, name)

        def counted(self: Any, x_t: Any, *others: Any, _predict: Any = predict, **named: Any) -> Any:
            QUERIES.add(len(x_t) * self.evaluations)
            return _predict(self, x_t, *others, **named)

        setattr(NoisePredictor, name, counted)


def in_fork(main: Main, folder: Path, *, at: int | None = None, moment: str = "before") -> Ended:
    """Run in a fork, in a folder of its own, with a $TMPDIR of its own; killed at an operation where one is given."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(folder.name + ".told")
    with beside.open("wb") as output, beside.with_suffix(".operations").open("wb") as note:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.environ["TMPDIR"] = str(folder / "tmp")
            tempfile.tempdir = None
            os.chdir(folder)
            sys.addaudithook(FileOperations(folder, note.fileno(), at, moment))
            os._exit(_status_of(main))
    deadline = time.monotonic() + TIME_LIMIT_S
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


@dataclass(frozen=True)
class Left:
    """What a run has left, apart from times."""

    scores: str
    """Digest of scores.parquet."""
    metrics: Any
    queries_spent: int
    store: dict[str, str]
    """File → digest; of a manifest, without its time."""

    @classmethod
    def by(cls, ended: Ended, folder: Path) -> "Left":
        """By a run that has ended well in a folder."""
        run = folder / ended.output.splitlines()[-1]
        results = json.loads((run / "results.json").read_text())
        scores = run / "scores.parquet"
        digest = hashlib.sha256(scores.read_bytes()).hexdigest() if scores.exists() else ""
        return cls(digest, results.get("metrics"), results.get("queries_spent", 0), store_files(folder))


def store_files(folder: Path) -> dict[str, str]:
    """All files of the store but locks."""
    root = folder / "outputs/store"
    files = (file for file in sorted(root.rglob("*")) if file.is_file() and file.relative_to(root).parts[0] != "locks")
    return {file.relative_to(root).as_posix(): content_digest(file) for file in files}


def content_digest(file: Path) -> str:
    content = file.read_bytes()
    if file.name == "entry.json":
        content = re.sub(rb'"seconds": [\d.e-]+', b"", content)
    return hashlib.sha256(content).hexdigest()


def leftovers(folder: Path) -> list[str]:
    """What lies where nothing should lie after a run."""
    places = [folder / "outputs/store/work", folder / "tmp"]
    return [path.relative_to(folder).as_posix() for place in places if place.is_dir() for path in place.rglob("*")]


def state_of(folder: Path) -> str:
    """A digest of all that the next run may find: equal ones need no second trial."""
    temporary = sorted(path.relative_to(folder).as_posix() for path in (folder / "tmp").rglob("*"))
    folders = sorted(path.relative_to(folder).as_posix() for path in (folder / "outputs/store").rglob("*/"))
    return hashlib.sha256(json.dumps([store_files(folder), temporary, folders, QUERIES.value]).encode()).hexdigest()


@dataclass
class Report:
    """Of all kills of one command."""

    operations: int = 0
    by_event: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    states: int = 0
    """Different ones that the kills have left, each of which was continued."""
    tracebacks: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    """Kills after which more queries were made, in all, than were in flight."""
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        return [*self.tracebacks, *self.hangs, *self.differences, *self.repeated]


def kill_everywhere(
    main: Main, start: Path | None, folder: Path, *, only: Callable[[Operation], bool] = lambda operation: True,
    allowed_repeats: int = 0,
) -> Report:  # fmt: skip
    """Kill a command at each of its operations, run it again, and compare with a run that nobody has killed.

    Args:
        main: the command.
        start: folder that each trial begins with a copy of; None: an empty one.
        folder: for the trials.
        only: operations to kill at.
        allowed_repeats: queries that may be lost by a kill.
    """
    began = time.monotonic()
    fresh(start, folder / "undisturbed")
    QUERIES.clear()
    undisturbed = in_fork(main, folder / "undisturbed")
    assert undisturbed.status == 0, undisturbed.output
    expected, needed = Left.by(undisturbed, folder / "undisturbed"), QUERIES.value
    assert expected.queries_spent == needed, (expected.queries_spent, needed)
    assert not leftovers(folder / "undisturbed"), leftovers(folder / "undisturbed")
    report = Report(len(undisturbed.operations), dict(Counter(each.event for each in undisturbed.operations)))
    seen: set[str] = set()
    for at, operation in enumerate(undisturbed.operations):
        for moment in MOMENTS:
            if not only(operation) or (moment == "within" and not operation.creates):
                continue
            name = f"{moment} {at} {operation}"
            fresh(start, trial := folder / "trial")
            QUERIES.clear()
            killed = in_fork(main, trial, at=at, moment=moment)
            report.kills += 1
            if killed.status != -signal.SIGKILL:
                report.differences.append(f"{name}: ended with {killed.status} instead\n{killed.output[-2000:]}")
                continue
            if (state := state_of(trial)) in seen:
                continue
            seen.add(state)
            report.states += 1
            reported = any((trial / "outputs").glob("runs/*/*/results.json"))
            again = in_fork(main, trial)
            compare(name, again, trial, expected, needed, allowed_repeats, reported, report)
    report.seconds = round(time.monotonic() - began, 1)
    return report


def compare(
    name: str, again: Ended, folder: Path, expected: Left, needed: int, allowed_repeats: int, reported: bool,
    report: Report,
) -> None:  # fmt: skip
    """Note in a report how a second run differs from an undisturbed one."""
    if again.status == HUNG:
        report.hangs.append(name)
    elif again.status:
        report.tracebacks.append(f"{name}: status {again.status}\n{again.output[-3000:]}")
    elif "Traceback" in again.output:
        report.tracebacks.append(f"{name}\n{again.output[-3000:]}")
    else:
        left = Left.by(again, folder)
        files = {file for file in {*left.store, *expected.store} if left.store.get(file) != expected.store.get(file)}
        if (left.scores, left.metrics) != (expected.scores, expected.metrics):
            report.differences.append(f"{name}: other scores")
        if files:
            report.differences.append(f"{name}: the store differs in {sorted(files)}")
        if lasting := leftovers(folder):
            report.differences.append(f"{name}: left {lasting}")
        if not reported and left.queries_spent != QUERIES.value:
            report.differences.append(f"{name}: {left.queries_spent} queries told, {QUERIES.value} made")
        if QUERIES.value > needed + allowed_repeats:
            report.repeated.append(f"{name}: {QUERIES.value} queries instead of {needed}")


def fresh(start: Path | None, folder: Path) -> None:
    """A copy of a folder, or an empty one."""
    shutil.rmtree(folder, ignore_errors=True)
    if start:
        shutil.copytree(start, folder)
    else:
        folder.mkdir(parents=True)


def command(*arguments: str) -> Main:
    """`python -m secmi_exp` with some arguments."""

    def main() -> None:
        from secmi_exp.__main__ import main

        sys.argv = ["secmi_exp", *arguments]
        main()

    return main


def preload(main: Main, folder: Path) -> None:
    """Import all that a command imports."""
    names = folder / "modules.json"

    def noting() -> None:
        try:
            main()
        finally:
            names.write_text(json.dumps(list(sys.modules)))

    ended = in_fork(noting, folder / "preloading")
    assert ended.status == 0, ended.output
    for name in json.loads(names.read_text()):
        if name not in sys.modules and not name.startswith("__mp_main__"):
            try:
                importlib.import_module(name)
            except Exception:  # made on the fly, such as torch.ops
                continue


COMMON = [
    "trainer=cpu", "logger=none", "trainer.progress_bar=false", "trainer.query_batch_size=16", "split.members=16",
    "split.holdouts=16", "evaluation.bootstrap_rounds=5",
]  # fmt: skip
DDPM = [
    *COMMON, "experiment=smoke", "target.max_steps=4", "target.checkpoint_every=2", "target.sample_every=4",
    "target.network.block_out_channels=[8,8]",
]  # fmt: skip
PICTURES = ["dataset=image_folder", "dataset.image_size=8", "dataset.channels=1", "target=ddpm_small"]
FOLDER = [*PICTURES, "dataset.members=../pictures/A", "dataset.holdout=../pictures/B", *DDPM]
SECMI = ["attack.t_sec=20", "attack.t_max=20"]
LATENT = [
    *COMMON, "experiment=latent_digits", *SECMI, "dataset.image_size=8", "target.autoencoder.block_out_channels=[8,8]",
    "target.autoencoder_training.max_steps=2", "target.autoencoder_training.checkpoint_every=1",
    "target.autoencoder_training.batch_size=8", "target.network.block_out_channels=[8,8]",
    "target.training.max_steps=2", "target.training.checkpoint_every=1", "target.training.batch_size=8",
    "target.training.samples=2",
]  # fmt: skip

COMMANDS: dict[str, tuple[list[str] | None, list[str]]] = {
    "smoke": (
        None,
        ["+attack=nn", "attack.scorers.nn.epochs=1", "attack.scorers.nn.min_steps=3",
         "attack.scorers.nn.checkpoint_every=2", *SECMI, *DDPM],
    ),
    "pia": (["+attack=blind", *FOLDER], ["+attack=pia", *FOLDER]),
    "gan_leaks": (["+attack=pia", *FOLDER], ["+attack=gan_leaks", "attack.samples=32", "attack.steps=2", *FOLDER]),
    "latent": (None, LATENT),
    "extension": (
        ["+attack=stat", *SECMI, *FOLDER], ["+attack=stat", "attack.t_sec=40", "attack.t_max=40", *FOLDER],
    ),
}  # fmt: skip
"""Name → the arguments of a run before the one that is killed, which begins with what that has left, and its own."""


def make_pictures(folder: Path) -> None:
    """Two folders of gray images of 8×8 pixels."""
    import numpy as np
    from PIL import Image

    draws = np.random.default_rng(0)
    for side in "AB":
        (folder / side).mkdir(parents=True)
        for number in range(16):
            pixels = draws.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / side / f"{number:02}.png")


def make_cheap() -> None:
    """Figures without a drawing, and a small network in SecMI_NN's place; what is written stays."""
    from matplotlib.figure import Figure
    from torch import nn

    from secmi_exp import rows
    from secmi_exp.attacks import nn_training
    from secmi_exp.data import decoding

    Figure.savefig = lambda self, path, **_: Path(path).write_bytes(b"a figure")  # type: ignore[method-assign]
    nn_training.error_map_network = lambda channels: nn.Sequential(
        nn.Conv2d(channels, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)
    )
    rows.SAVE_EVERY_S = decoding.SAVE_EVERY_S = -1.0


def main() -> None:
    """Kill a command everywhere, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--only", default="", help="regular expression of the operations to kill at")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    before, arguments = COMMANDS[given.command]
    import torch

    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())  # no context, whose clean-up forks would do too
    try:
        make_pictures(folder / "pictures")
        preload(command(*arguments) if before is None else lambda: (command(*before)(), command(*arguments)()), folder)
        announce_writers_in_c()
        count_queries()
        make_cheap()
        start = None
        if before:
            ended = in_fork(command(*before), start := folder / "start")
            assert ended.status == 0, ended.output
            shutil.rmtree(start / "outputs/runs")
        if given.list:
            fresh(start, folder / "undisturbed")
            began = time.monotonic()
            ended = in_fork(command(*arguments), folder / "undisturbed")
            print(*map(str, ended.operations), ended.output, time.monotonic() - began, sep="\n")
            return
        report = kill_everywhere(
            command(*arguments), start, folder, only=lambda operation: bool(re.search(given.only, str(operation))),
            allowed_repeats=10**9,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    print(json.dumps(asdict(report), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
