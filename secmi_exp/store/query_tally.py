"""How many queries were made for a result, by whichever processes: those included that were killed before they told.

Each process notes its queries as it makes them in a file in the store's ``work/``, and keeps that file locked. When the
process has ended without results, whoever works on the same result next takes the file over with what it tells. The
files go when a run has written its results. A query counts from when it is begun, whether its outcome was kept or not.
"""

from __future__ import annotations

import fcntl
import io
import os
import struct
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from secmi_exp.engine import ranks

if TYPE_CHECKING:  # which imports torch
    from secmi_exp.diffusion.noise_predictor import NoisePredictor

COUNT = struct.Struct("<QI")
"""A rank's count and its checksum; the file holds those of all ranks, one after the other."""


class QueryTally:
    """The queries made for one result that no run has told in its results yet.

    Args:
        folder: where the files lie.
        digest: of the result's key.
    """

    def __init__(self, folder: Path, digest: str):
        self.folder, self.prefix = folder, f"queries-{digest}-"
        self.held: list[io.FileIO] = []
        self.told = 0
        self._take_over()

    def file(self) -> Path:
        """Where this process's ranks note what they make."""
        self.folder.mkdir(parents=True, exist_ok=True)
        while not self.held:
            self._hold(io.FileIO(self.folder / f"{self.prefix}{uuid.uuid4().hex[:8]}", "x+"))
        return Path(str(self.held[0].name))

    def unreported(self) -> int:
        """The queries that this has not told before."""
        self._take_over()
        total = sum(sum(counts_in(Path(str(file.name)))) for file in self.held)
        unreported, self.told = total - self.told, total
        return unreported

    def forget(self) -> None:
        """The results tell all: nobody else is to count them."""
        for file in self.held:
            Path(str(file.name)).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave the files to others, as the end of the process does."""
        for file in self.held:
            file.close()
        self.held.clear()

    def _take_over(self) -> None:
        """Take the files of processes that have ended."""
        for path in sorted(self.folder.glob(f"{self.prefix}*")):
            if all(str(file.name) != str(path) for file in self.held):
                with suppress(OSError):  # forgotten just now; another user's, or on a disk that is read-only
                    self._hold(io.FileIO(path, "r+"))

    def _hold(self, file: io.FileIO) -> None:
        """Keep a file that nobody else holds."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return
        if os.fstat(file.fileno()).st_nlink:
            self.held.append(file)
        else:  # forgotten by its holder since it was opened
            file.close()


def counts_in(file: Path) -> list[int]:
    """Each rank's."""
    content = file.read_bytes()
    return [_read(content[at : at + COUNT.size]) for at in range(0, len(content), COUNT.size)]


def _read(count: bytes) -> int:
    """0 for what was never written, or not so."""
    if len(count) != COUNT.size:
        return 0
    queries, checksum = COUNT.unpack(count)
    return int(queries) if checksum == zlib.crc32(count[:-4]) else 0


def _written(queries: int) -> bytes:
    return COUNT.pack(queries, zlib.crc32(queries.to_bytes(8, "little")))


@contextmanager
def counting_queries(predictor: NoisePredictor, file: Path) -> Iterator[None]:
    """Let a predictor note the queries of this rank in a tally's file, each before it is made."""
    place = COUNT.size * rank_info().rank
    counts = os.open(file, os.O_RDWR)
    before = _read(os.pread(counts, COUNT.size, place))

    def note(queries: int) -> None:
        os.pwrite(counts, _written(before + queries), place)

    predictor.note_queries = note
    try:
        yield
    finally:
        predictor.note_queries = None
        os.close(counts)
