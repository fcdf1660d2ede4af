"""How many queries were made for a result, by all processes that worked on it, killed ones included.

Each process counts its queries as it makes them in a file in the store's ``work/``, and keeps that file locked. When
it has ended without results, the next process that works on the same result takes over the file and its count. The
files are deleted when a run has written its results. A query counts from when it is begun, whether its outcome was
kept or not.
"""

import fcntl
import io
import os
import struct
import uuid
import zlib
from contextlib import suppress
from pathlib import Path

COUNT = struct.Struct("<QI")
"""A rank's count and its checksum; the file holds those of all ranks, one after the other."""


class QueryTally:
    """The queries made for one result that no run's results include yet.

    Args:
        folder: where the files lie.
        digest: of the result's key.
    """

    def __init__(self, folder: Path, digest: str):
        self.folder, self.prefix = folder, f"queries-{digest}-"
        self.files: list[io.FileIO] = []
        self.reported = 0
        self._take_over()

    def file(self) -> Path:
        """Return the file in which this process's ranks count their queries."""
        self.folder.mkdir(parents=True, exist_ok=True)
        while not self.files:
            self._hold(io.FileIO(self.folder / f"{self.prefix}{uuid.uuid4().hex[:8]}", "x+"))
        return Path(str(self.files[0].name))

    def unreported(self) -> int:
        """Return the queries made since the last call, at the first call all of them."""
        self._take_over()
        total = sum(sum(counts_in(Path(str(file.name)))) for file in self.files)
        unreported, self.reported = total - self.reported, total
        return unreported

    def delete(self) -> None:
        """Delete the files: results include their counts."""
        for file in self.files:
            Path(str(file.name)).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Unlock the files, as the end of the process does."""
        for file in self.files:
            file.close()
        self.files.clear()

    def _take_over(self) -> None:
        """Take over the files of processes that have ended."""
        for path in sorted(self.folder.glob(f"{self.prefix}*")):
            if all(str(file.name) != str(path) for file in self.files):
                with suppress(OSError):  # deleted just now; another user's, or on a disk that is read-only
                    self._hold(io.FileIO(path, "r+"))

    def _hold(self, file: io.FileIO) -> None:
        """Lock a file and keep it, unless another process has locked it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return
        if os.fstat(file.fileno()).st_nlink:
            self.files.append(file)
        else:  # deleted since it was opened
            file.close()


def counts_in(file: Path) -> list[int]:
    """Read the count of each rank."""
    content = file.read_bytes()
    return [read_count(content[at : at + COUNT.size]) for at in range(0, len(content), COUNT.size)]


def read_count(count: bytes) -> int:
    """Read one count; 0 where it was not written, or is damaged."""
    if len(count) != COUNT.size:
        return 0
    queries, checksum = COUNT.unpack(count)
    return int(queries) if checksum == zlib.crc32(count[:-4]) else 0


def count_bytes(queries: int) -> bytes:
    """Return a count as it stands in the file."""
    return COUNT.pack(queries, zlib.crc32(queries.to_bytes(8, "little")))
