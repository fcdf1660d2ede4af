"""Rows of arrays, computed batch by batch through `Trainer.predict`, on one device or on several.

Batches lie on a fixed grid and are dealt out to the ranks in turn, so that what a sample gets does not depend on how
many ranks there are. Every rank writes the rows of its batches in place and notes which those were; a stage that was
killed continues with the rows that nobody has noted, or that are not as they were noted, on as many ranks as there are
then.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from secmi_exp.data.slices import slices
from secmi_exp.engine import ranks
from secmi_exp.engine.batch_size import largest_batch
from secmi_exp.engine.batches import Array, GivenBatches
from secmi_exp.engine.row_journal import Noted, append, verify_journal
from secmi_exp.engine.runtime import Runtime
from secmi_exp.files.arrays import RowFile, create_array, holds_array
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
    size = broadcast(largest_batch(module, arrays, runtime) if batch_size == "auto" else batch_size)
    below = {workspace: files_below(workspace, files) for workspace in workspaces}
    pending: list[slice] = []
    if rank_info().rank == 0:
        create_files(files, n, workspaces)
        finished = np.all([verify_journal(workspace, below[workspace], n) for workspace in workspaces], axis=0)
        pending = [rows for rows in slices(n, size) if not finished[rows].all()]
    pending = broadcast(pending)  # and the files are there
    mine = pending[rank_info().rank :: rank_info().world_size]
    recorder = Recorder(below, mine)
    trainer = runtime.trainer(callbacks=[recorder, *callbacks])
    trainer.predict(module, datamodule=GivenBatches(arrays, mine), return_predictions=False)
    recorder.finish()
    barrier()


def create_files(files: Mapping[Path, Row], n: int, workspaces: Sequence[Path]) -> None:
    """Make room for all rows where it isn't made yet."""
    making = workspaces[0] / SCRATCH / "making.npy"  # a kill may leave half of it, but not in any file's place
    for file, (shape, dtype) in files.items():
        if not holds_array(file, (n, *shape), dtype):
            file.parent.mkdir(exist_ok=True)
            create_array(making, (n, *shape), dtype)
            making.replace(file)


def files_below(workspace: Path, files: Iterable[Path]) -> dict[str, Path]:
    """Those that lie in a workspace, by their names relative to it."""
    return {file.relative_to(workspace).as_posix(): file for file in files if file.is_relative_to(workspace)}


@dataclass(frozen=True)
class Pending:
    """A batch on its way from the device."""

    rows: slice
    computed: Computed
    host: dict[Path, Tensor]
    arrived: torch.cuda.Event | None


class Recorder(pl.Callback):
    """Streams batches to disk, and notes which are there; while one is written, the device computes the next."""

    def __init__(self, below: Mapping[Path, Mapping[str, Path]], batches: Sequence[slice]):
        self.below, self.batches = below, batches
        self.files: dict[Path, RowFile] = {}
        self.pending: list[Pending] = []
        self.written: dict[Path, list[Noted]] = {folder: [] for folder in below}
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
        checksums = {}
        for path, tensor in pending.host.items():
            if path not in self.files:
                self.files[path] = RowFile(path)
            checksums[path] = self.files[path].write(pending.rows.start, tensor.numpy())
        for folder, files in self.below.items():
            queries = pending.computed.queries.get(folder, 0)
            batch = Noted(pending.rows, queries, {name: checksums[file] for name, file in files.items()})
            self.written[folder].append(batch)

    def save(self) -> None:
        """Note what is on the disk."""
        for file in self.files.values():
            file.flush()
        for folder, batches in self.written.items():
            append(folder, rank_info().rank, batches)
            batches.clear()
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
