"""The operations of a process on files, seen by an audit hook, which can kill it at one of them."""
# ruff: noqa: PTH109, PTH110, PTH118, PTH119, PTH120, PTH211

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")
"""Of Python's audit; os.replace and os.unlink raise the events of os.rename and os.remove."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Operation:
    """What a command does to the files below its folder."""

    event: str
    path: str
    """Relative to the folder; of a rename both, with an arrow."""
    creates: bool
    """Whether it opens a file that is then empty."""
    state: str = ""
    """A digest of all that lies in the folder before it."""

    def __str__(self) -> str:
        return f"{self.event} {self.path}"


class FileOperations:
    """An audit hook that notes the operations below a folder, and kills the process at one of them."""

    def __init__(self, folder: Path, note: int, at: int | None, moment: str, state: Callable[[Path], str] | None):
        self.folder, self.note, self.at, self.moment = os.path.realpath(folder), note, at, moment
        self.state = state
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
        if event == "open" and Path(str(paths[0])).is_dir():  # for a file without a name
            return None
        below = [path[len(self.folder) + 1 :] for path in paths if path and path.startswith(self.folder + os.sep)]
        if not below:
            return None
        flags = arguments[2] if event == "open" else 0
        creates = bool(flags & os.O_TRUNC) or (bool(flags & os.O_CREAT) and not os.path.exists(str(paths[0])))
        state = self.state(Path(self.folder)) if self.state else ""
        return Operation(event, " → ".join(below), creates and flags & os.O_TMPFILE != os.O_TMPFILE, state)

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
        name = str(getattr(module, "__name__", ""))
        if name.startswith(("diffusers", "transformers", "secmi_exp")) and "save_file" in vars(module):
            vars(module)["save_file"] = safetensors.torch.save_file
