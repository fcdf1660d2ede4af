"""The store of results: entries on disk under keys made of everything that decides their content.

An entry is a folder ``KIND/DIGEST`` with the files of one stage's result and ``entry.json``, which names the key and
the SHA-256 of each file; both are compared with what is asked for whenever an entry is reused. It appears by one rename
when it is complete. Until then it grows in a workspace below
``work/``, which survives a killed process, so that whoever needs the entry next continues there. What only helps to
continue (checkpoints, records of progress) lies in the workspace's ``scratch/`` and goes when the manifest is written:
a kill at any moment loses nothing. A lock per key keeps builders apart; the kernel releases it when its holder dies.
"""

import logging
import os
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from filelock import FileLock, Timeout

from secmi_exp.errors import UserError
from secmi_exp.files.storage_errors import StorageLocation, broken_link, explain_storage_errors
from secmi_exp.store.key import FileDigest, Input, Key, digest_of, file_digest
from secmi_exp.store.manifest import (
    MANIFEST,
    SCRATCH,
    Damaged,
    Manifest,
    check,
    note_use,
    read_manifest,
    share,
    write_json,
    write_manifest,
)
from secmi_exp.store.query_tally import QueryTally
from secmi_exp.store.remembered_digests import RememberedDigests

__all__ = [
    "MANIFEST",
    "SCRATCH",
    "Damaged",
    "Entry",
    "FileDigest",
    "Input",
    "Key",
    "Manifest",
    "Place",
    "Store",
    "Verify",
    "check",
    "digest_of",
    "file_digest",
    "note_use",
    "read_manifest",
    "write_json",
]

log = logging.getLogger(__name__)

Verify = Literal["changed", "always"]
"""How files are recognised that are as before: ``changed`` takes those for unchanged whose path, size, times of
modification and status change, and inode are, and of images and tables a hash of some blocks; ``always`` reads them
whole. So are weights and the store's own files where they are larger than 64 MB; smaller ones are always read."""


REMOVED = "removed-"
"""Prefix of folders in ``work/`` that are being removed."""

SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.05, 2.0
"""Seconds between two attempts to get a lock that another process holds."""


class Place(Protocol):
    """The place of an entry in the store; a `Key` is one."""

    @property
    def kind(self) -> str:
        """Name of the folder in the store."""

    @property
    def digest(self) -> str:
        """Name of the folder below that."""


@dataclass(frozen=True)
class Entry:
    """A complete result on disk, its files checked against their digests."""

    path: Path
    reused: bool
    """Whether it was there before this call."""


class Store:
    """Entries below one folder, which any number of processes may share."""

    def __init__(self, root: Path, *, verify: Verify = "changed"):
        """Open the store, creating its folder; nothing is written to one that has all that is asked for.

        Args:
            root: folder of the store.
            verify: see `Verify`.

        Raises:
            UserError: where there is no such folder and it can't be made.
        """
        self.root = root.absolute()
        self.verify: Verify = verify
        self.digests = RememberedDigests(self.root)
        self.used: dict[str, Key] = {}
        """Digest → key of the entries that were handed out, in order; without those that only builds have asked for."""
        self._building = False
        self._tallies: dict[str, QueryTally] = {}
        self.place = StorageLocation("the store", self.root, "paths.store, or the environment variable SECMI_STORE,")
        with explain_storage_errors(self.place):
            if not self.root.is_dir():
                for name in ("work", "locks"):
                    (self.root / name).mkdir(parents=True, exist_ok=True)
            self._finish_removals()

    def get_or_build(self, key: Key, build: Callable[[Path], None]) -> Entry:
        """The entry of this key, built first where it is missing or damaged; see `get_or_build_all`."""
        return self.get_or_build_all([key], lambda workspaces: build(workspaces[key.digest]))[0]

    def get_or_build_all(self, keys: Sequence[Key], build: Callable[[dict[str, Path]], None]) -> list[Entry]:
        """The entries of these keys, of which the missing or damaged ones are built together.

        Args:
            keys: distinct keys, each of which names the files that its entry must have.
            build: gets the digest and the workspace of each missing entry and leaves there what the entry shall hold. A
                workspace may hold what a killed build left behind. Runs while the keys are locked, and in one process
                only; the others wait and then find the entries.

        Raises:
            RuntimeError: for a key that names no files, and for a build that leaves less than its key names.
            UserError: where something must be built and the folder can't be written, or its disk is full.
        """
        with explain_storage_errors(self.place):
            return self._obtain_all(keys, build)

    def _obtain_all(self, keys: Sequence[Key], build: Callable[[dict[str, Path]], None]) -> list[Entry]:
        for key in keys:
            if not key.files:
                raise RuntimeError(f"The key of {key} names no files, so that its entry can't be checked.")
        found: dict[str, Entry] = {}
        missing = list(keys)
        while missing:
            seen = self._manifest_inodes(missing)
            found |= self._load_valid(missing)
            missing = [key for key in missing if key.digest not in found]
            if not missing:
                break
            self._refuse_read_only(missing)
            with ExitStack() as locks:
                for key in sorted(missing, key=lambda key: key.digest):  # one order for all, so no deadlock
                    locks.enter_context(self._locked(key))
                if self._manifest_inodes(missing) != {key.digest: seen[key.digest] for key in missing}:
                    continue  # made by another process, and checked without locks: by all that waited, at once
                for key in missing:
                    self._discard_damaged(key)
                    self._finalize_killed(key)
                found |= self._load_valid(missing)
                missing = [key for key in missing if key.digest not in found]
                if missing:
                    self._build(missing, build)
                break
        for kind in dict.fromkeys(key.kind for key in keys):
            reused = [key for key in keys if key.kind == kind and key.digest in found]
            if reused:
                more = f" and {len(reused) - 1} more" if len(reused) > 1 else ""
                log.info("Reused %s from the store%s.", reused[0], more)
        if not self._building:
            self.used |= {key.digest: key for key in keys if key.digest not in self.used}
        return [found.get(key.digest) or Entry(self._path(key), reused=False) for key in keys]

    def file_digest(self, path: Path) -> str:
        """SHA-256 of a file, in hexadecimal; see `Verify` for when it is read.

        Raises:
            OSError: where it can't be read.
        """
        return file_digest(path) if self.verify == "always" else self.digests.digest(path)

    def find(self, key: Key) -> Entry | None:
        """The entry of this key where it is there and whole; nothing is built."""
        return self._load_valid([key]).get(key.digest)

    def tally(self, key: Key) -> QueryTally:
        """Return the tally of the queries made for the result of this key."""
        if key.digest not in self._tallies:
            self._tallies[key.digest] = QueryTally(self.root / "work", key.digest)
        return self._tallies[key.digest]

    def delete_tallies(self) -> None:
        """Delete the tallies that were asked for: a run's results include their counts now."""
        for tally in self._tallies.values():
            tally.delete()
        self._tallies.clear()

    def has(self, key: Key) -> bool:
        """Whether there is an entry of this key, whole or not."""
        return self._path(key).exists()

    def discard(self, key: Key) -> None:
        """Remove an entry that nobody will ask for again, and what builds have left of it.

        Whoever has its files open keeps them.
        """
        left = [folder for folder in (self._path(key), self._workspace(key)) if os.path.lexists(folder)]
        if left:
            with explain_storage_errors(self.place), self._locked(key):
                for folder in left:
                    self._remove(folder)

    def remove_unless_locked(self, place: Place, folder: Path) -> bool:
        """Remove the entry or the workspace of a place, unless somebody is building there; whether it was removed."""
        try:
            with explain_storage_errors(self.place), self._locked(place, wait=False):
                self._remove(folder)
        except Timeout:
            return False
        return True

    def _refuse_read_only(self, missing: Sequence[Key]) -> None:
        """Refuse to compute results that couldn't be written.

        Raises:
            UserError: naming what must be computed, and the folder that can't be written.
        """
        for name in dict.fromkeys(("work", "locks", *(key.kind for key in missing))):
            folder = self.root / name if os.path.lexists(self.root / name) else self.root
            if not os.access(folder, os.W_OK | os.X_OK):
                link = broken_link(folder)
                why = (
                    f"{link} is a broken link: repair it"
                    if link
                    else f"{folder} of the store is read-only: have it made writable"
                )
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise UserError(f"{missing[0]}{more} must be computed, and {why}{self.place.or_elsewhere}.")

    def _manifest_inodes(self, keys: Sequence[Key]) -> dict[str, int | None]:
        """Digest → inode of the entry's manifest, which tells whether the entry was made anew; None without one."""
        inodes: dict[str, int | None] = {}
        for key in keys:
            try:
                inodes[key.digest] = (self._path(key) / MANIFEST).stat().st_ino
            except OSError:
                inodes[key.digest] = None
        return inodes

    def _load_valid(self, keys: Sequence[Key]) -> dict[str, Entry]:
        """Digest → entry, of those that are there and whole."""
        entries = {}
        for key in keys:
            with suppress(Damaged):
                if self._path(key).exists():
                    check(self._path(key), key, digest=self.file_digest)
                    note_use(self._path(key))
                    entries[key.digest] = Entry(self._path(key), reused=True)
        return entries

    def _discard_damaged(self, key: Key) -> None:
        """Remove an entry that is not what its manifest says, or not the one of its key; the key is locked."""
        path = self._path(key)
        if os.path.lexists(path):
            try:
                check(path, key)
            except Damaged as damage:
                log.warning("The store's %s is damaged (%s): computing it again.", key, damage)
                self._remove(path)

    def _build(self, missing: Sequence[Key], build: Callable[[dict[str, Path]], None]) -> None:
        """Build missing entries in their workspaces; their keys are locked."""
        started = time.monotonic()
        workspaces = {key.digest: self._workspace(key) for key in missing}
        for workspace in workspaces.values():
            (workspace / SCRATCH).mkdir(parents=True, exist_ok=True)
        building, self._building = self._building, True
        try:
            build(workspaces)
        except BaseException:
            for workspace in workspaces.values():
                if not any(path.is_file() for path in workspace.rglob("*")):  # nothing to continue from
                    shutil.rmtree(workspace)
            raise
        finally:
            self._building = building
        for key in missing:
            write_manifest(workspaces[key.digest], key, time.monotonic() - started)
            try:
                self._seal(key)
            except Damaged as damage:
                raise RuntimeError(f"What was built for {key} is not what was sealed: {damage}.") from damage

    def _path(self, key: Place) -> Path:
        return self.root / key.kind / key.digest

    def _workspace(self, key: Place) -> Path:
        return self.root / "work" / f"{key.kind}-{key.digest}"

    @contextmanager
    def _locked(self, key: Place, *, wait: bool = True) -> Iterator[None]:
        for name in ("work", "locks"):
            (self.root / name).mkdir(exist_ok=True)
        lock = FileLock(self.root / "locks" / f"{key.kind}-{key.digest}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise
            log.info("Another run is making %s %s: waiting for it.", key.kind, key.digest[:8])
            wait_for(lock)
        try:
            # What another machine has just renamed into place is seen once the folder itself is read again.
            with suppress(FileNotFoundError):
                os.scandir(self._path(key).parent).close()
            yield
        finally:
            lock.release()

    def _finalize_killed(self, key: Key) -> None:
        """Turn a workspace that a killed process had finished into the entry; the key is locked."""
        workspace = self._workspace(key)
        if not (workspace / MANIFEST).exists():
            return
        try:
            self._seal(key)
        except Damaged as damage:
            log.warning("What a killed run has left of %s is damaged (%s): computing it again.", key, damage)
            self._remove(workspace)

    def _seal(self, key: Key) -> None:
        """Turn a finished workspace into the entry; the key is locked.

        Raises:
            Damaged: where it isn't what its manifest says.
        """
        workspace, path = self._workspace(key), self._path(key)
        check(workspace, key)
        shutil.rmtree(workspace / SCRATCH, ignore_errors=True)
        share(workspace)
        path.parent.mkdir(exist_ok=True)
        workspace.rename(path)

    def _finish_removals(self) -> None:
        """Remove what killed processes were about to remove, where this one may."""
        work = self.root / "work"
        if os.access(work, os.W_OK | os.X_OK):
            for left in work.iterdir():
                if left.name.startswith(REMOVED):
                    self._remove(left)

    def _remove(self, path: Path) -> None:
        """Remove an entry or a workspace, by a rename first, so that a kill leaves nothing partial in its place."""
        gone = self.root / "work" / f"{REMOVED}{path.name}-{uuid.uuid4().hex[:8]}"
        with suppress(FileNotFoundError):
            if path.name.startswith(REMOVED):
                gone = path
            path.rename(gone)
            if gone.is_dir() and not gone.is_symlink():
                shutil.rmtree(gone, ignore_errors=True)
            else:
                gone.unlink()


def wait_for(lock: FileLock) -> None:
    """Get a lock that another process holds.

    The longer the wait has lasted, the longer the pauses between attempts: each of them opens the file, on a network
    file system by a message to its server, and a thousand jobs may wait for one entry.
    """
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started
        time.sleep(min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, waited / 10)) * random.uniform(0.75, 1.25))
        with suppress(Timeout):
            lock.acquire(timeout=0)
            return
