"""Walking the trajectories of many images through `Trainer.predict`, on one device or on several.

Batches lie on a fixed grid and are dealt out to the ranks in turn, so that what a sample gets does not depend on how
many ranks there are. Every rank writes the rows of its batches in place and notes which those were; a walk that was
killed continues with the rows that nobody has noted, on as many ranks as there are then.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from secmi_exp import ranks
from secmi_exp.attacks.batch_size import largest_batch
from secmi_exp.attacks.signal import Plan, queries_per_sample
from secmi_exp.compiling import CompileWhenItRepays
from secmi_exp.data.batches import GivenBatches
from secmi_exp.data.images import Images
from secmi_exp.diffusion.trajectory import State, begin, walk
from secmi_exp.runtime import Runtime
from secmi_exp.store import SCRATCH, write_json
from secmi_exp.targets.noise_predictor import NoisePredictor

SAVE_EVERY_S = 5.0
"""Seconds between notes of the rows that are done: the work that a killed walk loses at most."""


def walk_images(
    plan: Plan, load: Callable[[], NoisePredictor], images: Images, runtime: Runtime, *, logger: None
) -> int:
    """Fill the plan's folders; runs on every rank. Returns the queries that all ranks together have made."""
    module = TrajectoryWalk(load().to(runtime.query_dtype), plan)
    arrays: tuple[Any, ...] = (images,)
    if plan.start_state:
        arrays = tuple(np.load(plan.start_state / f"{name}.npy", mmap_mode="r") for name in ("x", "eps"))
    given = runtime.query_batch_size
    size = ranks.agreed(largest_batch(module, arrays, runtime) if given == "auto" else given)
    if ranks.current().rank == 0:
        with torch.inference_mode():
            shape = tuple(module.predictor.encode(torch.from_numpy(images[:1])).shape[1:])
        create_files(plan, len(images), shape, np.dtype(np.float64 if runtime.query_precision == "64" else np.float32))
    ranks.agreed(None)  # the files are there
    finished = done(plan, len(images))
    pending = ranks.agreed([rows for rows in grid(len(images), size) if not finished[rows].all()])
    mine = pending[ranks.current().rank :: ranks.current().world_size]
    recorder = Recorder(plan, mine)
    trainer = runtime.trainer(callbacks=[recorder, CompileWhenItRepays(runtime.compile, module.predictor.network)])
    trainer.predict(module, datamodule=GivenBatches(arrays, mine), return_predictions=False)
    recorder.finish()
    spent = ranks.total(module.predictor.queries)
    if ranks.current().rank == 0:
        note_queries(plan)
    return spent


def grid(n: int, size: int) -> Iterator[slice]:
    """Batches of n rows; the last one is what is left."""
    return (slice(low, min(low + size, n)) for low in range(0, n, size))


@dataclass(frozen=True)
class Walked:
    """The outcome of one batch."""

    arrays: dict[Path, Tensor]
    """File → its rows."""
    queries: dict[int, int]
    """t_sec → queries an image until then."""


class TrajectoryWalk(pl.LightningModule):
    """One batch of images, or of states, to what the plan wants of it."""

    def __init__(self, predictor: NoisePredictor, plan: Plan):
        super().__init__()
        self.predictor, self.plan = predictor, plan
        self.before = queries_per_sample(plan.start_state) if plan.start_state else 0

    def on_predict_start(self) -> None:
        """The layout that CUDA's convolutions are fastest in; on the CPU it would cost digits in GroupNorm."""
        if self.device.type == "cuda":
            self.predictor.to(memory_format=torch.channels_last)

    def predict_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Walked:
        """Walk up; only the current state is kept."""
        predict, made = self.predictor.predict_noise, self.predictor.queries
        arrays, queries = {}, {}
        plan = self.plan
        state = begin(predict, self._laid_out(self.predictor.encode(*batch))) if len(batch) == 1 else self._state(batch)
        for step in walk(predict, state, self.predictor.alphas_cumprod, plan.k, plan.last):
            queries[step.t_sec] = self.before + (self.predictor.queries - made) // len(batch[0])
            if step.t_sec in plan.t_errors:
                arrays[plan.t_errors[step.t_sec] / "t_errors.npy"] = step.t_error().float()
            if step.t_sec in plan.maps:
                arrays[plan.maps[step.t_sec] / "maps.npy"] = step.error_map().half()
            state = step.state
        if plan.last_state:
            arrays[plan.last_state / "x.npy"], arrays[plan.last_state / "eps.npy"] = state.x, state.eps
        return Walked(arrays, queries)

    def _state(self, batch: tuple[Tensor, ...]) -> State:
        x, eps = map(self._laid_out, batch)
        return State(self.plan.start, x, eps)

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if x.is_cuda and x.dim() == 4 else x


def create_files(plan: Plan, n: int, shape: tuple[int, ...], state_dtype: np.dtype[Any]) -> None:
    """Make room for all rows where it isn't made yet."""
    wanted: dict[Path, tuple[tuple[int, ...], Any]] = {
        **{folder / "t_errors.npy": ((n,), np.float32) for folder in plan.t_errors.values()},
        **{folder / "maps.npy": ((n, *shape), np.float16) for folder in plan.maps.values()},
    }
    if plan.last_state:
        plan.last_state.mkdir(exist_ok=True)
        wanted |= {plan.last_state / f"{name}.npy": ((n, *shape), state_dtype) for name in ("x", "eps")}
    fresh = [file for file in wanted if not file.exists()]
    making = plan.workspaces[0] / SCRATCH / "making.npy"  # a kill may leave half of it, but not in any file's place
    for file in fresh:
        open_memmap(making, "w+", wanted[file][1], wanted[file][0])
        making.replace(file)
    if fresh:  # what was noted before did not speak of these
        for folder in plan.workspaces:
            for note in notes(folder):
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


def notes(folder: Path) -> list[Path]:
    """What the ranks have noted in a workspace: a line for each batch, its first row, its end, and its queries."""
    return sorted((folder / SCRATCH).glob("rows-*.txt"))


def noted(folder: Path) -> Iterator[tuple[slice, int]]:
    """Rows that are done, and the queries that each of them took; a line that a kill has cut is left out."""
    for file in notes(folder):
        for line in file.read_text().splitlines():
            match line.split():
                case [start, stop, queries, "done"]:
                    yield slice(int(start), int(stop)), int(queries)


def done(plan: Plan, n: int) -> NDArray[np.bool_]:
    """Rows that are done in all workspaces, [n]."""
    everywhere = np.ones(n, dtype=bool)
    for folder in plan.workspaces:
        here = np.zeros(n, dtype=bool)
        for rows, _ in noted(folder):
            here[rows] = True
        everywhere &= here
    return everywhere


def note_queries(plan: Plan) -> None:
    """Leave in each workspace, and beside the last state, how many queries a sample took."""
    for folder in plan.workspaces:
        (queries,) = {queries for _, queries in noted(folder)}
        write_json(folder / "queries.json", {"queries_per_sample": queries})
    if plan.last_state:
        write_json(
            plan.last_state / "queries.json", {"queries_per_sample": queries_per_sample(plan.t_errors[plan.last])}
        )


@dataclass(frozen=True)
class Pending:
    """A batch on its way from the device."""

    rows: slice
    walked: Walked
    host: dict[Path, Tensor]
    arrived: torch.cuda.Event | None


class Recorder(pl.Callback):
    """Streams batches to disk, and notes which are there; while one is written, the device computes the next."""

    def __init__(self, plan: Plan, batches: list[slice]):
        self.plan, self.batches = plan, batches
        self.files: dict[Path, RowFile] = {}
        self.pending: list[Pending] = []
        self.lines: dict[Path, list[str]] = {folder: [] for folder in plan.workspaces}
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
        for kept in (self.plan.t_errors, self.plan.maps):
            for t, folder in kept.items():
                line = f"{pending.rows.start} {pending.rows.stop} {pending.walked.queries[t]} done\n"
                self.lines[folder].append(line)

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


def fetch(rows: slice, walked: Walked) -> Pending:
    """Start to copy a batch to the host."""
    tensors = walked.arrays
    if not any(tensor.is_cuda for tensor in tensors.values()):
        return Pending(rows, walked, dict(tensors), None)
    host = {path: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for path, tensor in tensors.items()}
    for path, tensor in tensors.items():
        host[path].copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return Pending(rows, walked, host, arrived)
