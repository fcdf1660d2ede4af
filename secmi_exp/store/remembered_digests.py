"""SHA-256 of large files, remembered so that they are read anew only once they have changed.

Each remembered digest is a file of its own in the store's ``digests/``, named by a hash of what tells the file from
others: path, size, times of modification and of status change, and inode. So a file that has changed has another name
there, processes never overwrite each other's records with something else, and there is nothing to lock.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from secmi_exp.files.atomic import written_whole
from secmi_exp.files.strict_json import read_foreign_json
from secmi_exp.store.key import file_digest

FOLDER = "digests"
"""Folder of the store."""
LARGE = 64 * 2**20
"""Bytes; files up to this size are read each time."""
SETTLED_NS = 2 * 10**9
"""A file whose times are younger than this when it is read isn't remembered: on a file system that keeps times in whole
seconds, or in two, it might change again without another time."""
MOST_BYTES = 2**16
"""Largest size of a record."""
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileState:
    """What tells a file from others, and from itself before it was changed."""

    path: str
    """Absolute, without symbolic links."""
    bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path, stat: os.stat_result) -> "FileState":
        """The state of a file, from its status."""
        return cls(os.fsdecode(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)

    def settled(self, now_ns: int) -> bool:
        """Whether any change from now on gives the file another time."""
        return now_ns - self.ctime_ns >= SETTLED_NS and abs(now_ns - self.mtime_ns) >= SETTLED_NS

    def hash(self, *more: str) -> str:
        """SHA-256 of the state, and of more text."""
        return hashlib.sha256(json.dumps([asdict(self), *more], sort_keys=True).encode()).hexdigest()


class RememberedDigests:
    """The digests that a store remembers; where it can't be written, none.

    Args:
        store: folder of the store.
    """

    def __init__(self, store: Path):
        self.folder = store / FOLDER

    def digest(self, path: Path) -> str:
        """SHA-256 of a file, in hexadecimal; of a large one that hasn't changed, as it was remembered.

        Raises:
            OSError: where it can't be read.
        """
        path = Path(os.path.realpath(path))
        before = FileState.of(path, path.stat())
        if before.bytes <= LARGE:
            return file_digest(path)
        if remembered := self._read(before):
            return remembered
        started = time.time_ns()
        digest = file_digest(path)
        if before.settled(started) and FileState.of(path, path.stat()) == before:
            self._write(before, digest)
        return digest

    def remove_stale(self, *, dry_run: bool) -> int:
        """Remove the records of files that are gone or have changed, and what isn't a record; return their number."""
        stale = list(self._stale())
        for file in () if dry_run else stale:
            with suppress(OSError):  # removed by another process just now
                file.unlink()
        return len(stale)

    def _record(self, state: FileState) -> Path:
        return self.folder / f"{state.hash()[:32]}.json"

    def _read(self, state: FileState) -> str | None:
        """The digest of a file in this state; None where none is remembered, or its record is damaged."""
        found = read_record(self._record(state))
        return found[1] if found and found[0] == state else None

    def _write(self, state: FileState, digest: str) -> None:
        record = {"file": asdict(state), "sha256": digest, "checksum": state.hash(digest)}
        with suppress(OSError):  # a store that is read-only, or has no room: the file is read again next time
            self.folder.mkdir(exist_ok=True)
            with written_whole(self._record(state)) as partial:
                partial.write_text(json.dumps(record) + "\n", encoding="utf-8")

    def _stale(self) -> Iterator[Path]:
        for file in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            found = read_record(file)
            if found:
                path = Path(found[0].path)
                with suppress(OSError):
                    if FileState.of(path, path.stat()) == found[0] and file == self._record(found[0]):
                        continue
            yield file


def read_record(file: Path) -> tuple[FileState, str] | None:
    """Read a record: the state of a file, and its digest; None where there is none, or what is there isn't one."""
    try:
        match read_foreign_json(file, MOST_BYTES):
            case {
                "file": {"path": str(path), "bytes": int(size), "mtime_ns": int(mtime), "ctime_ns": int(ctime),
                         "inode": int(inode)},
                "sha256": str(digest),
                "checksum": str(checksum),
            }:  # fmt: skip
                state = FileState(path, size, mtime, ctime, inode)
                if SHA256.fullmatch(digest) and checksum == state.hash(digest):
                    return state, digest
    except (OSError, ValueError):
        pass
    return None
