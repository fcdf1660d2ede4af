"""Batches for Lightning: endless shuffled ones that resume at any step, and given rows in order.

On CUDA the arrays themselves go to the device where they fit beside everything else; where not, batches are copied from
pinned memory while the device computes.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from secmi_exp.data.stored_rows import RowArray
from secmi_exp.engine.collectives import rank_info
from secmi_exp.random_streams import Purpose

RowIndices = NDArray[np.int64] | slice


RESIDENT_SHARE = 0.25
"""Share of the device's free memory that arrays may take to be kept there."""


class Piece(NamedTuple):
    """The position of a part within a training batch."""

    start: int
    stop: int
    total: int
    """Samples in the whole batch."""


class BatchDataset(Dataset[tuple[Tensor, ...]]):
    """Rows of arrays, a whole batch at a time: an index array or a slice gives a tuple of tensors."""

    def __init__(self, *arrays: RowArray):
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, rows: RowIndices) -> tuple[Tensor, ...]:
        """The batch of these rows, copied out of the arrays (which may be memory maps)."""
        return tuple(torch.from_numpy(np.array(array[rows])) for array in self.arrays)


class ResidentBatchDataset(BatchDataset):
    """The same with the arrays on the device, which only row numbers are sent to."""

    def __init__(self, *arrays: RowArray, device: torch.device):
        super().__init__(*arrays)
        everything = slice(0, len(self))
        self.tensors = tuple(tensor.to(device) for tensor in super().__getitem__(everything))
        self.device = device

    def __getitem__(self, rows: RowIndices) -> tuple[Tensor, ...]:
        """The batch of these rows, gathered on the device."""
        if isinstance(rows, slice):
            return tuple(tensor[rows] for tensor in self.tensors)
        index = torch.from_numpy(rows)
        index = index.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else index
        return tuple(tensor[index] for tensor in self.tensors)


def place_arrays(arrays: Sequence[RowArray], device: torch.device) -> BatchDataset:
    """Put the arrays where their batches can be read fastest: on the device, if they fit."""
    if device.type == "cuda":
        n = len(arrays[0])
        size = sum(n * array[:1].nbytes for array in arrays)
        if size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            return ResidentBatchDataset(*arrays, device=device)
    return BatchDataset(*arrays)


class PieceOfBatch(Dataset[tuple[Tensor | Piece, ...]]):
    """Rows, and which part of its batch they are."""

    def __init__(self, rows: BatchDataset):
        self.rows = rows

    def __getitem__(self, piece: tuple[NDArray[np.int64], Piece]) -> tuple[Tensor | Piece, ...]:
        """The rows' tensors, and the piece."""
        return *self.rows[piece[0]], piece[1]


class ShuffledOrder(Sampler[tuple[NDArray[np.int64], Piece]]):
    """Endless epochs of shuffled batches, where batch number i is a function of (seed, i) alone.

    A run that resumes at step i therefore sees the very batches that it would have seen undisturbed, on however many
    devices. The samples left over at an epoch's end are dropped, as a rule fewer than a batch; a set smaller than a
    batch is one batch.

    Args:
        n: samples.
        batch_size: samples of a whole batch.
        seed: of the order.
        start: number of the first batch.
        parts: number of parts in which this rank takes its share of a batch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, start: int = 0, parts: int = 1):
        self.n, self.seed, self.start, self.parts = n, seed, start, parts
        self.batch_size = min(batch_size, n)

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], Piece]]:
        per_epoch = self.n // self.batch_size
        rank = rank_info()
        bounds = np.linspace(0, self.batch_size, rank.world_size * self.parts + 1).astype(int).tolist()
        shuffled_epoch = -1
        for i in count(self.start):
            epoch, batch = divmod(i, per_epoch)
            if epoch != shuffled_epoch:
                order, shuffled_epoch = np.random.default_rng([self.seed, epoch]).permutation(self.n), epoch
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            for part in range(rank.rank * self.parts, (rank.rank + 1) * self.parts):
                piece = Piece(bounds[part], bounds[part + 1], self.batch_size)
                yield rows[piece.start : piece.stop], piece


class PoissonOrder(Sampler[NDArray[np.int64]]):
    """Endless batches that hold each sample with the same probability, independently of all others.

    Batch number i is a function of (seed, i) alone; its size varies around ``batch_size``, and may be 0.

    Args:
        n: samples.
        batch_size: expected; that of a set smaller than it is the set's.
        seed: of the batches.
        start: number of the first batch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, start: int = 0):
        self.n, self.rate, self.seed, self.start = n, min(batch_size, n) / n, seed, start

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for i in count(self.start):
            generator = np.random.default_rng([self.seed, i, Purpose.DP_SGD])
            yield np.flatnonzero(generator.random(self.n) < self.rate)


class Batches(pl.LightningDataModule):
    """Batches of arrays, for the device that the trainer computes on."""

    def __init__(self, *arrays: RowArray):
        super().__init__()
        self.arrays = arrays

    def loader(self, order: Iterable[Any], *, pieces: bool = False) -> DataLoader[tuple[Tensor, ...]]:
        """Batches in an order, of rows or of rows and their `Piece`; from where the device has them without waiting."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        rows = place_arrays(self.arrays, device)
        pinned = device.type == "cuda" and not isinstance(rows, ResidentBatchDataset)
        dataset: Dataset[Any] = PieceOfBatch(rows) if pieces else rows
        return DataLoader(dataset, sampler=order, batch_size=None, pin_memory=pinned)


class TrainingBatches(Batches):
    """Shuffled training batches that continue at the step where the trainer stands; see `ShuffledOrder`."""

    def __init__(self, *arrays: RowArray, batch_size: int, seed: int):
        super().__init__(*arrays)
        self.batch_size, self.seed = batch_size, seed

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Batches from the trainer's current step on, without end."""
        assert self.trainer is not None
        parts, step = self.trainer.accumulate_grad_batches, self.trainer.global_step
        order = ShuffledOrder(len(self.arrays[0]), self.batch_size, self.seed, start=step, parts=parts)
        return self.loader(order, pieces=True)


class TrainingBatchesAndNoise(TrainingBatches):
    """Training batches, and for validation, which draws samples, one batch of the noise that they are drawn from.

    Args:
        *arrays: training images [N, C, H, W], and what belongs to them, [N, …].
        noise: x_T [B, C, H, W], and what belongs to them, [B, …].
        batch_size: images a batch.
        seed: of the order.
    """

    def __init__(self, *arrays: RowArray, noise: Sequence[RowArray], batch_size: int, seed: int):
        super().__init__(*arrays, batch_size=batch_size, seed=seed)
        self.noise = noise

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All the noise in one batch."""
        return DataLoader(BatchDataset(*self.noise), sampler=[slice(0, len(self.noise[0]))], batch_size=None)


class PoissonBatchesAndNoise(TrainingBatchesAndNoise):
    """The same with training batches from `PoissonOrder`."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Batches from the trainer's current step on, without end."""
        assert self.trainer is not None
        n, start = len(self.arrays[0]), self.trainer.global_step
        return self.loader(PoissonOrder(n, self.batch_size, self.seed, start=start))


class GivenBatches(Batches):
    """Prediction on batches that are given as slices of rows."""

    def __init__(self, arrays: Sequence[RowArray], batches: Sequence[slice]):
        super().__init__(*arrays)
        self.batches = batches
        self.allow_zero_length_dataloader_with_multiple_devices = True  # there may be fewer batches than ranks

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """One pass."""
        return self.loader(self.batches)
