"""The journal in which ranks record the rows that they have written, so that a killed stage can be continued.

A line of the journal holds a batch's rows, the queries that each took, and a checksum of what was written into each
file; it begins with a checksum of itself. A stage that is continued trusts only rows that lie in the files as recorded.
"""

import json
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
class WrittenBatch:
    """A batch of rows that was written, as the journal records it."""

    rows: slice
    queries: int
    """Queries of the target that each row took."""
    checksums: Mapping[str, int]
    """File, relative to the workspace → `checksum` of the rows in it."""

    @property
    def line(self) -> bytes:
        """Its line of the journal, which begins with a checksum of the rest."""
        content = json.dumps([self.rows.start, self.rows.stop, self.queries, self.checksums]).encode()
        return b"%08x %s\n" % (zlib.crc32(content), content)

    @classmethod
    def from_line(cls, line: bytes) -> "WrittenBatch | None":
        """Read a line, given without its end; None where its checksum doesn't match."""
        line_checksum, _, content = line.partition(b" ")
        if line_checksum != b"%08x" % zlib.crc32(content):
            return None
        start, stop, queries, checksums = json.loads(content)
        return cls(slice(start, stop), queries, checksums)

    def is_intact_in(self, arrays: Mapping[str, NDArray[np.generic]]) -> bool:
        """Whether the arrays, memory maps of the files, still hold what was written."""
        for name, array in arrays.items():
            intact = checksum(array[self.rows]) == self.checksums[name]
            release(array)
            if not intact:
                return False
        return True


def append_batches(workspace: Path, rank: int, batches: Sequence[WrittenBatch]) -> None:
    """Append what a rank has written to its journal."""
    with (workspace / SCRATCH / f"rows-{rank}.txt").open("ab") as journal:
        journal.write(b"".join(batch.line for batch in batches))


def journal_files(workspace: Path) -> list[Path]:
    """Return the journals of all ranks."""
    return sorted((workspace / SCRATCH).glob("rows-*.txt"))


def read_journal(workspace: Path) -> Iterator[WrittenBatch]:
    """Read all batches that were written, one by one; damaged lines are left out."""
    for file in journal_files(workspace):
        with file.open("rb") as journal:
            for line in journal:
                if batch := WrittenBatch.from_line(line.rstrip(b"\n")):
                    yield batch


def queries_of_rows(workspace: Path, n: int) -> NDArray[np.int64]:
    """Read the queries that each row took, [n].

    Batches overlap where a killed stage was continued with batches of another size; the latest count holds. Where all
    rows took as many, which is the rule, the array takes the memory of one.
    """
    queries = np.zeros(n, np.int64)
    for batch in read_journal(workspace):
        queries[batch.rows] = batch.queries
    return np.broadcast_to(queries[:1].copy(), n) if (queries == queries[:1]).all() else queries


def verify_journal(workspace: Path, files: Mapping[str, Path], n: int) -> NDArray[np.bool_]:
    """Drop from the journals the batches that the files don't hold; return which rows are done, [n].

    Args:
        workspace: workspace that may hold what a killed stage left.
        files: name, relative to the workspace → file, with room for n rows.
        n: rows.
    """
    done = np.zeros(n, dtype=bool)
    damaged = 0
    arrays = {name: np.load(file, mmap_mode="r") for name, file in files.items()} if journal_files(workspace) else {}
    for journal in journal_files(workspace):
        content, kept = journal.read_bytes(), []
        *lines, _ = content.split(b"\n")  # the last is empty, or one that a kill has cut
        for line in lines:
            batch = WrittenBatch.from_line(line)
            if batch and not files.keys() <= batch.checksums.keys():
                continue  # written for other files than these
            if batch and batch.is_intact_in(arrays):
                kept.append(batch)
                done[batch.rows] = True
            else:
                damaged += 1
        if (whole := b"".join(batch.line for batch in kept)) != content:
            with written_whole(journal) as partial:
                partial.write_bytes(whole)
    if damaged:
        log.warning(
            "%s: %d batches that a stopped run has left are not as they were written; computing them again.",
            workspace.name.rpartition("-")[0], damaged,
        )  # fmt: skip
    return done
