"""What the ranks note of the rows that they have written, so that a stage that was killed knows which are done.

A line of the journal tells a batch's rows, the queries that each took, and a checksum of what was written into each
file; it begins with a checksum of itself. Whoever continues counts the rows that lie in the files as they were noted.
"""

import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.images import release
from secmi_exp.files.arrays import checksum
from secmi_exp.files.atomic import written_whole
from secmi_exp.store import SCRATCH

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Noted:
    """A batch that was written."""

    rows: slice
    queries: int
    """That each of its rows took."""
    checksums: Mapping[str, int]
    """File, relative to the workspace → `checksum` of the rows in it."""

    @property
    def line(self) -> bytes:
        """As it stands in the journal."""
        told = json.dumps([self.rows.start, self.rows.stop, self.queries, self.checksums]).encode()
        return b"%08x %s\n" % (zlib.crc32(told), told)

    @classmethod
    def of(cls, line: bytes) -> "Noted | None":
        """A line without its end; None where it isn't what was written."""
        sum_of_line, _, told = line.partition(b" ")
        if sum_of_line != b"%08x" % zlib.crc32(told):
            return None
        start, stop, queries, checksums = json.loads(told)
        return cls(slice(start, stop), queries, checksums)

    def lies_in(self, files: Mapping[str, Path]) -> bool:
        """Whether the files hold what was written."""
        return all(checksum(rows_of(file, self.rows)) == self.checksums[name] for name, file in files.items())


def rows_of(file: Path, rows: slice) -> NDArray[np.generic]:
    """A copy of some rows of an .npy file."""
    array = np.load(file, mmap_mode="r")
    copy: NDArray[np.generic] = np.array(array[rows])
    release(array)
    return copy


def append(workspace: Path, rank: int, batches: Sequence[Noted]) -> None:
    """Note what a rank has written."""
    with (workspace / SCRATCH / f"rows-{rank}.txt").open("ab") as journal:
        journal.write(b"".join(batch.line for batch in batches))


def journals(workspace: Path) -> list[Path]:
    """Of all ranks."""
    return sorted((workspace / SCRATCH).glob("rows-*.txt"))


def noted(workspace: Path) -> list[Noted]:
    """All that was noted; what can't be read is left out."""
    lines = (line for journal in journals(workspace) for line in journal.read_bytes().splitlines())
    return [batch for line in lines if (batch := Noted.of(line))]


def queries_of_rows(workspace: Path, n: int) -> NDArray[np.int64]:
    """What each row took, [n]; batches overlap where a killed stage was continued with batches of another size."""
    queries = np.zeros(n, np.int64)
    for batch in noted(workspace):
        queries[batch.rows] = batch.queries
    return queries


def verify_journal(workspace: Path, files: Mapping[str, Path], n: int) -> NDArray[np.bool_]:
    """Drop from the journals what the files don't hold; returns which rows are done, [n].

    Args:
        workspace: that may hold what a killed stage left.
        files: name, relative to the workspace → file, with room for n rows.
        n: rows.
    """
    done = np.zeros(n, dtype=bool)
    damaged = 0
    for journal in journals(workspace):
        content, kept = journal.read_bytes(), []
        *lines, _ = content.split(b"\n")  # the last is empty, or one that a kill has cut
        for line in lines:
            batch = Noted.of(line)
            if batch and not files.keys() <= batch.checksums.keys():
                continue  # made for other files than are wanted now
            if batch and batch.lies_in(files):
                kept.append(batch)
                done[batch.rows] = True
            else:
                damaged += 1
        if (whole := b"".join(batch.line for batch in kept)) != content:
            with written_whole(journal) as partial:
                partial.write_bytes(whole)
    if damaged:
        log.warning(
            "Of what a stopped run has left of %s, %d batches are not as they were written: computing them again.",
            workspace.name.rpartition("-")[0], damaged,
        )  # fmt: skip
    return done
