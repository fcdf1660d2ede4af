"""Rows of arrays, computed batch by batch through `Trainer.predict`, on one device or on several.

Batches lie on a fixed grid and are dealt out to the ranks in turn, so that what a sample gets does not depend on how
many ranks there are. Every rank writes the rows of its batches in place and records them in its journal; a stage that
was killed continues with the rows that are in no journal, or that are not as they were recorded, on as many ranks as
there are then.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secmi_exp.data.slices import slices
from secmi_exp.data.stored_rows import RowArray
from secmi_exp.engine.batch_size import largest_batch
from secmi_exp.engine.batches import GivenBatches
from secmi_exp.engine.collectives import barrier, broadcast, is_rank_0, rank_info
from secmi_exp.engine.row_journal import WrittenBatch, append_batches, queries_of_rows, verify_journal
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.trainers import make_trainer
from secmi_exp.files.arrays import RowFile, create_array, holds_array
from secmi_exp.store import SCRATCH

SAVE_EVERY_S = 5.0
"""Seconds between entries in the journal: the work that a killed stage loses at most."""

Row = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and type of one row of a file."""

Predict = Callable[..., Iterable[tuple[Path, Tensor]]]
"""Gets the tensors of a batch, one for each array, and yields each file with its rows, as soon as they are computed."""


@dataclass(frozen=True)
class ComputedBatch:
    """The outcome of one batch."""

    arrays: Mapping[Path, Tensor]
    """File → its rows."""
    queries: Mapping[Path, int]
    """File → queries of the target that each of its rows took."""


class Prediction(pl.LightningModule):
    """A function of batches, as Lightning carries it out.

    Args:
        predict: the function.
        network: the network that computes the values; it is moved to the device.
        count_queries: returns the queries that the network has answered so far, over all samples.
        gradients: whether the function computes gradients.
    """

    def __init__(
        self, predict: Predict, network: nn.Module, count_queries: Callable[[], int] = int, *, gradients: bool = False
    ):
        super().__init__()
        self.predict, self.network, self.count_queries, self.gradients = predict, network, count_queries, gradients

    def predict_step(self, batch: tuple[Tensor, ...], batch_idx: int = 0) -> ComputedBatch:
        """Compute one batch; a file's queries are those that were made until its rows were yielded."""
        before, size = self.count_queries(), len(batch[0])
        arrays, queries = {}, {}
        with torch.set_grad_enabled(self.gradients):
            for file, rows in self.predict(*batch):
                arrays[file], queries[file] = rows, (self.count_queries() - before) // size
        return ComputedBatch(arrays, queries)


def fill_rows(
    prediction: Prediction,
    arrays: Sequence[RowArray],
    files: Mapping[Path, Row],
    workspaces: Sequence[Path],
    runtime: Runtime,
    batch_size: int | Literal["auto"],
    callbacks: Sequence[pl.Callback] = (),
    label: str = "Predicting",
) -> dict[Path, NDArray[np.int64]]:
    """Fill files with a row for each row of the arrays; called on every rank.

    Args:
        prediction: makes the rows of each file from a batch of the arrays.
        arrays: of n rows each; a batch has some rows of each.
        files: files to write, [n, …]; each lies below one of the workspaces.
        workspaces: of the entries that the files belong to; may hold what a killed stage left.
        runtime: the machine.
        batch_size: rows a batch, and a device; auto: the largest that repays.
        callbacks: of the trainer, besides this function's own.
        label: name of the work in the progress bar.

    Returns:
        On rank 0 workspace → queries that each row took, [n]; rows that a killed stage has left included.
    """
    n = len(arrays[0])
    size = broadcast(largest_batch(prediction, arrays, runtime) if batch_size == "auto" else batch_size)
    files_of = {workspace: files_below(workspace, files) for workspace in workspaces}
    pending: list[slice] = []
    if is_rank_0():
        create_files(files, n, workspaces)
        finished = np.ones(n, dtype=bool)
        for workspace in workspaces:
            finished &= verify_journal(workspace, files_of[workspace], n)
        pending = [rows for rows in slices(n, size) if not finished[rows].all()]
    pending = broadcast(pending)  # and the files are there
    mine = pending[rank_info().rank :: rank_info().world_size]
    writer = RowWriter(files_of, mine)
    trainer = make_trainer(runtime, gradients=prediction.gradients, callbacks=[writer, *callbacks], label=label)
    trainer.predict(prediction, datamodule=GivenBatches(arrays, mine), return_predictions=False)
    writer.finish()
    barrier()
    return {workspace: queries_of_rows(workspace, n) for workspace in workspaces} if is_rank_0() else {}


def create_files(files: Mapping[Path, Row], n: int, workspaces: Sequence[Path]) -> None:
    """Make each file, with room for all rows, unless a killed stage has left it."""
    making = workspaces[0] / SCRATCH / "making.npy"  # a kill may leave half of it, but not in any file's place
    for file, (shape, dtype) in files.items():
        if not holds_array(file, (n, *shape), dtype):
            file.parent.mkdir(exist_ok=True)
            create_array(making, (n, *shape), dtype)
            making.replace(file)


def files_below(workspace: Path, files: Iterable[Path]) -> dict[str, Path]:
    """Return the files that lie in a workspace, by their names relative to it."""
    return {file.relative_to(workspace).as_posix(): file for file in files if file.is_relative_to(workspace)}


@dataclass(frozen=True)
class BatchInFlight:
    """A batch that is being copied from the device."""

    rows: slice
    computed: ComputedBatch
    host: dict[Path, Tensor]
    arrived: torch.cuda.Event | None


class RowWriter(pl.Callback):
    """Streams batches to disk and records them; while one is written, the device computes the next."""

    def __init__(self, files_of: Mapping[Path, Mapping[str, Path]], batches: Sequence[slice]):
        self.files_of, self.batches = files_of, batches
        self.open: dict[Path, RowFile] = {}
        self.in_flight: list[BatchInFlight] = []
        self.unrecorded: dict[Path, list[WrittenBatch]] = {workspace: [] for workspace in files_of}
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
        """Start to copy one batch, write the one before it."""
        self.in_flight.append(copy_to_host(self.batches[batch_idx], outputs))
        while len(self.in_flight) > 1:
            self._write(self.in_flight.pop(0))
        if time.monotonic() - self.saved_at > SAVE_EVERY_S:
            self.save()

    def _write(self, batch: BatchInFlight) -> None:
        if batch.arrived:
            batch.arrived.synchronize()
        checksums = {}
        for path, tensor in batch.host.items():
            if path not in self.open:
                self.open[path] = RowFile(path)
            checksums[path] = self.open[path].write(batch.rows.start, tensor.numpy())
        for workspace, files in self.files_of.items():
            queries = max(batch.computed.queries[file] for file in files.values())
            written = WrittenBatch(batch.rows, queries, {name: checksums[file] for name, file in files.items()})
            self.unrecorded[workspace].append(written)

    def save(self) -> None:
        """Record the batches that are on the disk."""
        for file in self.open.values():
            file.flush()
        for workspace, batches in self.unrecorded.items():
            append_batches(workspace, rank_info().rank, batches)
            batches.clear()
        self.saved_at = time.monotonic()

    def finish(self) -> None:
        """Write and record what is in flight, and close the files."""
        while self.in_flight:
            self._write(self.in_flight.pop(0))
        self.save()
        for file in self.open.values():
            file.close()


def copy_to_host(rows: slice, computed: ComputedBatch) -> BatchInFlight:
    """Start to copy a batch from its device, without waiting for it."""
    tensors = computed.arrays
    if not any(tensor.is_cuda for tensor in tensors.values()):
        return BatchInFlight(rows, computed, dict(tensors), None)
    host = {path: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for path, tensor in tensors.items()}
    for path, tensor in tensors.items():
        host[path].copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return BatchInFlight(rows, computed, host, arrived)
