"""What was already computed: entries on disk under keys made of everything that decides their content.

An entry is a folder ``KIND/DIGEST`` with the files of one stage's result and ``entry.json``, which names the key and
the SHA-256 of each file. It appears by one rename when it is complete. Until then it grows in a workspace below
``work/``, which survives a killed process, so that whoever needs the entry next continues there. What only helps to
continue (checkpoints, records of progress) lies in the workspace's ``scratch/`` and goes when the manifest is written:
a kill at any moment loses nothing. A lock per key keeps builders apart; the kernel releases it when its holder dies.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from secmi_exp.errors import UserError

log = logging.getLogger(__name__)

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

Verify = Literal["changed", "always"]
"""How files outside of the store are recognised whose content decides a key: ``changed`` takes those for unchanged
whose size, modification time, inode and a hash of some blocks are as before; ``always`` reads them whole."""

MANIFEST = "entry.json"
SCRATCH = "scratch"
"""Folder of a workspace that is no part of the entry."""


@dataclass(frozen=True)
class Key:
    """Names a result by what decides it; equal keys mean equal results."""

    kind: str
    """The stage, such as ``target``; the folder that the entry lies in."""
    version: int
    """Of the code that computes it; raised when that code's result changes."""
    config: Mapping[str, Json]
    """The stage's own resolved configuration."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Digests of the keys or contents that the stage starts from."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the key in canonical JSON, shortened to 128 bits."""
        return hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def description(self) -> dict[str, Json]:
        """The key in full, as entry.json holds it."""
        return {"kind": self.kind, "version": self.version, "config": self.config, "inputs": self.inputs}

    def __str__(self) -> str:
        return f"{self.kind} {self.digest[:8]}"


@dataclass(frozen=True)
class Entry:
    """A complete result on disk, its files checked against their digests."""

    path: Path
    reused: bool
    """Whether it was there before this call."""


class Damaged(Exception):
    """An entry whose files are not what its manifest says."""


def write_json(path: Path, content: Json) -> None:
    """Write JSON so that a reader sees either the old file or the whole new one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """Entries below one folder, which any number of processes may share."""

    def __init__(self, root: Path, *, verify: Verify = "changed"):
        """Open the store, creating its folder.

        Args:
            root: its folder.
            verify: see `Verify`. The store's own files are read whole in either case.

        Raises:
            UserError: where the folder can't be written.
        """
        self.root = root.absolute()
        self.verify: Verify = verify
        try:
            for folder in ("work", "locks"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            probe = self.root / "work" / f".writable.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"The store folder {self.root} can't be written ({error.strerror}): "
                "set paths.store, or the environment variable SECMI_STORE, to a folder that can."
            ) from error

    def obtain(self, key: Key, build: Callable[[Path], None]) -> Entry:
        """The entry of this key, built first where it is missing or damaged; see `obtain_all`."""
        return self.obtain_all([key], lambda workspaces: build(workspaces[key.digest]))[0]

    def obtain_all(self, keys: Sequence[Key], build: Callable[[dict[str, Path]], None]) -> list[Entry]:
        """The entries of these keys, of which the missing or damaged ones are built together.

        Args:
            keys: distinct keys.
            build: gets the digest and the workspace of each missing entry and leaves there what the entry shall hold. A
                workspace may hold what a killed build left behind. Runs while the keys are locked, and in one process
                only; the others wait and then find the entries.
        """
        found = self._present(keys)
        missing = [key for key in keys if key.digest not in found]
        with ExitStack() as locks:
            for key in sorted(missing, key=lambda key: key.digest):  # one order for all, so no deadlock
                locks.enter_context(self._locked(key))
            for key in missing:
                self._discard_damaged(key)
                self._adopt(key)
            found |= self._present(missing)
            missing = [key for key in missing if key.digest not in found]
            if missing:
                self._build(missing, build)
        for kind in dict.fromkeys(key.kind for key in keys):
            reused = [key for key in keys if key.kind == kind and key.digest in found]
            if reused:
                more = f" and {len(reused) - 1} more" if len(reused) > 1 else ""
                log.info("Reused %s from the store%s.", reused[0], more)
        return [found.get(key.digest) or Entry(self._path(key), reused=False) for key in keys]

    def find(self, key: Key) -> Entry | None:
        """The entry of this key where it is there and whole; nothing is built."""
        return self._present([key]).get(key.digest)

    def discard(self, key: Key) -> None:
        """Remove an entry that nobody will ask for again; whoever has its files open keeps them."""
        with self._locked(key):
            shutil.rmtree(self._path(key), ignore_errors=True)

    def _present(self, keys: Sequence[Key]) -> dict[str, Entry]:
        """Digest → entry, of those that are there and whole."""
        entries = {}
        for key in keys:
            with suppress(Damaged):
                if self._path(key).exists():
                    check(self._path(key))
                    entries[key.digest] = Entry(self._path(key), reused=True)
        return entries

    def _discard_damaged(self, key: Key) -> None:
        """Remove an entry that is not what its manifest says; the key is locked."""
        path = self._path(key)
        if path.exists():
            try:
                check(path)
            except Damaged as damage:
                log.warning("The store's %s is damaged (%s): computing it again.", key, damage)
                shutil.rmtree(path)

    def _build(self, missing: Sequence[Key], build: Callable[[dict[str, Path]], None]) -> None:
        """Build missing entries in their workspaces; their keys are locked."""
        started = time.monotonic()
        workspaces = {key.digest: self._workspace(key) for key in missing}
        for workspace in workspaces.values():
            (workspace / SCRATCH).mkdir(parents=True, exist_ok=True)
        try:
            build(workspaces)
        except BaseException:
            for workspace in workspaces.values():
                if not any(path.is_file() for path in workspace.rglob("*")):  # nothing to continue from
                    shutil.rmtree(workspace)
            raise
        for key in missing:
            write_manifest(workspaces[key.digest], key, time.monotonic() - started)
            self._adopt(key)

    def _path(self, key: Key) -> Path:
        return self.root / key.kind / key.digest

    def _workspace(self, key: Key) -> Path:
        return self.root / "work" / f"{key.kind}-{key.digest}"

    @contextmanager
    def _locked(self, key: Key) -> Iterator[None]:
        lock = FileLock(self.root / "locks" / f"{key.kind}-{key.digest}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("Another run is making %s: waiting for it.", key)
            lock.acquire()
        try:
            # What another machine has just renamed into place is seen once the folder itself is read again.
            with suppress(FileNotFoundError):
                os.scandir(self._path(key).parent).close()
            yield
        finally:
            lock.release()

    def _adopt(self, key: Key) -> None:
        """Turn a workspace that is finished into the entry, and leave any other alone; the key is locked."""
        workspace, path = self._workspace(key), self._path(key)
        if not (workspace / MANIFEST).exists():
            return
        try:
            check(workspace)
        except Damaged:
            (workspace / MANIFEST).unlink()
            return
        shutil.rmtree(workspace / SCRATCH, ignore_errors=True)
        path.parent.mkdir(exist_ok=True)
        workspace.rename(path)


def write_manifest(workspace: Path, key: Key, seconds: float) -> None:
    """Declare a workspace finished."""
    (workspace / MANIFEST).unlink(missing_ok=True)
    files = sorted(
        file for file in workspace.rglob("*") if file.is_file() and SCRATCH not in file.relative_to(workspace).parts
    )
    manifest: dict[str, Json] = {
        "key": key.description,
        "seconds": round(seconds, 3),
        "files": {
            file.relative_to(workspace).as_posix(): {"bytes": file.stat().st_size, "sha256": file_digest(file)}
            for file in files
        },
    }
    write_json(workspace / MANIFEST, manifest)


def check(entry: Path) -> None:
    """Compare an entry's files with its manifest.

    Raises:
        Damaged: naming the first file that differs.
    """
    try:
        manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): (int(file["bytes"]), str(file["sha256"])) for name, file in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{MANIFEST} can't be read") from error
    for name, (size, digest) in files.items():
        file = entry / name
        if not file.is_file():
            raise Damaged(f"{name} is missing")
        if file.stat().st_size != size:
            raise Damaged(f"{name} has {file.stat().st_size} bytes instead of {size}")
        if file_digest(file) != digest:
            raise Damaged(f"{name} has changed")
