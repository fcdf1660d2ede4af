"""Rows of arrays, computed batch by batch through `Trainer.predict`, on one device or on several.

Batches lie on a fixed grid and are dealt out to the ranks in turn, so that what a sample gets does not depend on how
many ranks there are. Every rank writes the rows of its batches in place and notes which those were; a stage that was
killed continues with the rows that nobody has noted, on as many ranks as there are then.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from secmi_exp import ranks
from secmi_exp.batch_size import largest_batch
from secmi_exp.data.batches import Array, GivenBatches
from secmi_exp.data.slices import slices
from secmi_exp.runtime import Runtime
from secmi_exp.store import SCRATCH

SAVE_EVERY_S = 5.0
"""Seconds between notes of the rows that are done: the work that a killed stage loses at most."""

Row = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and type of one row of a file."""


@dataclass(frozen=True)
class Computed:
    """The outcome of one batch, which a module's `predict_step` returns."""

    arrays: Mapping[Path, Tensor]
    """File → its rows."""
    queries: Mapping[Path, int] = field(default_factory=dict)
    """Workspace → queries of the target that a row of it took; none where it isn't told."""


def fill_rows(
    module: pl.LightningModule,
    arrays: Sequence[Array],
    files: Mapping[Path, Row],
    workspaces: Sequence[Path],
    runtime: Runtime,
    batch_size: int | Literal["auto"],
    callbacks: Sequence[pl.Callback] = (),
) -> None:
    """Fill files with a row for each row of the arrays; called on every rank.

    Args:
        module: whose `predict_step` makes `Computed` of a batch of the arrays.
        arrays: of n rows each; a batch is a tuple with some rows of each.
        files: to be made, [n, …]; each lies below one of the workspaces.
        workspaces: of the entries that the files belong to; may hold what a killed stage left.
        runtime: the machine.
        batch_size: rows a batch, and a device; auto: the largest that repays.
        callbacks: of the trainer, besides this function's own.
    """
    n = len(arrays[0])
    size = ranks.agreed(largest_batch(module, arrays, runtime) if batch_size == "auto" else batch_size)
    if ranks.current().rank == 0:
        create_files(files, n, workspaces)
    ranks.agreed(None)  # the files are there
    finished = done(workspaces, n)
    pending = ranks.agreed([rows for rows in slices(n, size) if not finished[rows].all()])
    mine = pending[ranks.current().rank :: ranks.current().world_size]
    recorder = Recorder(workspaces, mine)
    trainer = runtime.trainer(callbacks=[recorder, *callbacks])
    trainer.predict(module, datamodule=GivenBatches(arrays, mine), return_predictions=False)
    recorder.finish()
    ranks.agreed(None)  # as every rank has


def create_files(files: Mapping[Path, Row], n: int, workspaces: Sequence[Path]) -> None:
    """Make room for all rows where it isn't made yet."""
    fresh = [file for file in files if not file.exists()]
    making = workspaces[0] / SCRATCH / "making.npy"  # a kill may leave half of it, but not in any file's place
    for file in fresh:
        shape, dtype = files[file]
        file.parent.mkdir(exist_ok=True)
        open_memmap(making, "w+", dtype, (n, *shape))
        making.replace(file)
    if fresh:  # what was noted before did not speak of these
        for workspace in workspaces:
            for note in notes(workspace):
                note.unlink()


class RowFile:
    """An .npy array whose rows are written in place, by several processes at once; nothing of it stays in memory."""

    def __init__(self, path: Path):
        array = np.load(path, mmap_mode="r")
        self.offset, self.dtype, self.row_bytes = array.offset, array.dtype, array.nbytes // len(array)
        self.file = os.open(path, os.O_WRONLY)

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Put rows at ``start`` and after."""
        content = memoryview(np.ascontiguousarray(rows, self.dtype).data).cast("B")
        position = self.offset + start * self.row_bytes
        while content:
            written = os.pwrite(self.file, content, position)
            content, position = content[written:], position + written

    def flush(self) -> None:
        """Have it on the disk."""
        os.fdatasync(self.file)

    def close(self) -> None:
        """Let the file go."""
        os.close(self.file)


def notes(workspace: Path) -> list[Path]:
    """What the ranks have noted in a workspace: a line for each batch, its first row, its end, and its queries."""
    return sorted((workspace / SCRATCH).glob("rows-*.txt"))


def noted(workspace: Path) -> Iterator[tuple[slice, int]]:
    """Rows that are done, and the queries that each of them took; a line that a kill has cut is left out."""
    for file in notes(workspace):
        for line in file.read_text().splitlines():
            match line.split():
                case [start, stop, queries, "done"]:
                    yield slice(int(start), int(stop)), int(queries)


def done(workspaces: Sequence[Path], n: int) -> NDArray[np.bool_]:
    """Rows that are done in all workspaces, [n]."""
    everywhere = np.ones(n, dtype=bool)
    for workspace in workspaces:
        here = np.zeros(n, dtype=bool)
        for rows, _ in noted(workspace):
            here[rows] = True
        everywhere &= here
    return everywhere


@dataclass(frozen=True)
class Pending:
    """A batch on its way from the device."""

    rows: slice
    computed: Computed
    host: dict[Path, Tensor]
    arrived: torch.cuda.Event | None


class Recorder(pl.Callback):
    """Streams batches to disk, and notes which are there; while one is written, the device computes the next."""

    def __init__(self, workspaces: Sequence[Path], batches: Sequence[slice]):
        self.workspaces, self.batches = workspaces, batches
        self.files: dict[Path, RowFile] = {}
        self.pending: list[Pending] = []
        self.lines: dict[Path, list[str]] = {folder: [] for folder in workspaces}
        self.saved_at = time.monotonic()

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take one batch, write the one before it."""
        self.pending.append(fetch(self.batches[batch_idx], outputs))
        while len(self.pending) > 1:
            self._write(self.pending.pop(0))
        if time.monotonic() - self.saved_at > SAVE_EVERY_S:
            self.save()

    def _write(self, pending: Pending) -> None:
        if pending.arrived:
            pending.arrived.synchronize()
        for path, tensor in pending.host.items():
            if path not in self.files:
                self.files[path] = RowFile(path)
            self.files[path].write(pending.rows.start, tensor.numpy())
        for folder in self.workspaces:
            queries = pending.computed.queries.get(folder, 0)
            self.lines[folder].append(f"{pending.rows.start} {pending.rows.stop} {queries} done\n")

    def save(self) -> None:
        """Note what is on the disk."""
        for file in self.files.values():
            file.flush()
        for folder, lines in self.lines.items():
            with (folder / SCRATCH / f"rows-{ranks.current().rank}.txt").open("a") as note:
                note.write("".join(lines))
            lines.clear()
        self.saved_at = time.monotonic()

    def finish(self) -> None:
        """Write what is pending, and wait for the other ranks."""
        while self.pending:
            self._write(self.pending.pop(0))
        self.save()
        for file in self.files.values():
            file.close()


def fetch(rows: slice, computed: Computed) -> Pending:
    """Start to copy a batch to the host."""
    tensors = computed.arrays
    if not any(tensor.is_cuda for tensor in tensors.values()):
        return Pending(rows, computed, dict(tensors), None)
    host = {path: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for path, tensor in tensors.items()}
    for path, tensor in tensors.items():
        host[path].copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return Pending(rows, computed, host, arrived)
