"""Batches for Lightning: endless shuffled ones that resume at any step, and given rows in order.

On CUDA the arrays themselves go to the device where they fit beside everything else; where not, batches are copied from
pinned memory while the device computes.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from secmi_exp.engine import ranks

Rows = NDArray[np.int64] | slice


class Array(Protocol):
    """Anything with rows that are copied out when a batch is asked for: arrays, memory maps, `Images`, `StoredRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row at its end: […, H, W]."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> NDArray[Any]: ...


RESIDENT_SHARE = 0.25
"""Of the device's free memory, what arrays may take to live there."""


class Piece(NamedTuple):
    """Which part of a training batch this is."""

    start: int
    stop: int
    total: int
    """Samples in the whole batch."""


class ArrayRows(Dataset[tuple[Tensor, ...]]):
    """Rows of arrays, a whole batch at a time: an index array or a slice gives a tuple of tensors."""

    def __init__(self, *arrays: Array):
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, rows: Rows) -> tuple[Tensor, ...]:
        """The batch of these rows, copied out of the arrays (which may be memory maps)."""
        return tuple(torch.from_numpy(np.array(array[rows])) for array in self.arrays)


class ResidentRows(ArrayRows):
    """The same on a device, to which rows are sent as numbers."""

    def __init__(self, *arrays: Array, device: torch.device):
        super().__init__(*arrays)
        everything = slice(0, len(self))
        self.tensors = tuple(tensor.to(device) for tensor in super().__getitem__(everything))
        self.device = device

    def __getitem__(self, rows: Rows) -> tuple[Tensor, ...]:
        """The batch of these rows, gathered on the device."""
        if isinstance(rows, slice):
            return tuple(tensor[rows] for tensor in self.tensors)
        index = torch.from_numpy(rows)
        index = index.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else index
        return tuple(tensor[index] for tensor in self.tensors)


def placed(arrays: Sequence[Array], device: torch.device) -> ArrayRows:
    """The arrays where batches of them are had fastest."""
    if device.type == "cuda":
        n = len(arrays[0])
        size = sum(n * array[:1].nbytes for array in arrays)
        if size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            return ResidentRows(*arrays, device=device)
    return ArrayRows(*arrays)


class PieceOfBatch(Dataset[tuple[Tensor | Piece, ...]]):
    """Rows, and which part of its batch they are."""

    def __init__(self, rows: ArrayRows):
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
        batch_size: of whole batches.
        seed: of the order.
        start: number of the first batch.
        parts: that this rank takes its share of a batch in.
    """

    def __init__(self, n: int, batch_size: int, seed: int, start: int = 0, parts: int = 1):
        self.n, self.seed, self.start, self.parts = n, seed, start, parts
        self.batch_size = min(batch_size, n)

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], Piece]]:
        per_epoch = self.n // self.batch_size
        place = rank_info()
        bounds = np.linspace(0, self.batch_size, place.world_size * self.parts + 1).astype(int).tolist()
        shuffled_epoch = -1
        for i in count(self.start):
            epoch, batch = divmod(i, per_epoch)
            if epoch != shuffled_epoch:
                order, shuffled_epoch = np.random.default_rng([self.seed, epoch]).permutation(self.n), epoch
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            for part in range(place.rank * self.parts, (place.rank + 1) * self.parts):
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
            generator = np.random.default_rng([self.seed, i, 1])  # the 1 keeps it apart from how members are drawn
            yield np.flatnonzero(generator.random(self.n) < self.rate)


class Batches(pl.LightningDataModule):
    """Batches of arrays, for the device that the trainer computes on."""

    def __init__(self, *arrays: Array):
        super().__init__()
        self.arrays = arrays

    def loader(self, order: Iterable[Any], *, pieces: bool = False) -> DataLoader[tuple[Tensor, ...]]:
        """Batches in an order, of rows or of rows and their `Piece`; from where the device has them without waiting."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        rows = placed(self.arrays, device)
        pinned = device.type == "cuda" and not isinstance(rows, ResidentRows)
        dataset: Dataset[Any] = PieceOfBatch(rows) if pieces else rows
        return DataLoader(dataset, sampler=order, batch_size=None, pin_memory=pinned)


class TrainingBatches(Batches):
    """Shuffled training batches that continue at the step where the trainer stands; see `ShuffledOrder`."""

    def __init__(self, *arrays: Array, batch_size: int, seed: int):
        super().__init__(*arrays)
        self.batch_size, self.seed = batch_size, seed

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Batches from the trainer's current step on, without end."""
        assert self.trainer is not None
        parts, step = self.trainer.accumulate_grad_batches, self.trainer.global_step
        order = ShuffledOrder(len(self.arrays[0]), self.batch_size, self.seed, start=step, parts=parts)
        return self.loader(order, pieces=True)


class TrainingBatchesAndNoise(TrainingBatches):
    """Validation is a look at samples, so its one batch is the noise that they are drawn from.

    Args:
        images: training images, [N, C, H, W].
        noise: x_T, [B, C, H, W].
        batch_size: images a batch.
        seed: of the order.
    """

    def __init__(self, images: Array, noise: Array, *, batch_size: int, seed: int):
        super().__init__(images, batch_size=batch_size, seed=seed)
        self.noise = noise

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All the noise in one batch."""
        return DataLoader(ArrayRows(self.noise), sampler=[slice(0, len(self.noise))], batch_size=None)


class PoissonBatchesAndNoise(TrainingBatchesAndNoise):
    """The same with training batches from `PoissonOrder`."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Batches from the trainer's current step on, without end."""
        assert self.trainer is not None
        n, start = len(self.arrays[0]), self.trainer.global_step
        return self.loader(PoissonOrder(n, self.batch_size, self.seed, start=start))


class GivenBatches(Batches):
    """Prediction on batches that are given as slices of rows."""

    def __init__(self, arrays: Sequence[Array], batches: Sequence[slice]):
        super().__init__(*arrays)
        self.batches = batches
        self.allow_zero_length_dataloader_with_multiple_devices = True  # there may be fewer batches than ranks

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """One pass."""
        return self.loader(self.batches)
