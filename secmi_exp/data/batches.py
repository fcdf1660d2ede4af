"""Batches for Lightning: endless shuffled ones that resume at any step, and one pass in order."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from secmi_exp.data.images import Images

Array = NDArray[np.generic] | Images


class ArrayRows(Dataset[tuple[Tensor, ...]]):
    """Rows of arrays, a whole batch at a time: an index array gives a tuple of tensors."""

    def __init__(self, *arrays: Array):
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> tuple[Tensor, ...]:
        """The batch of these rows, copied out of the arrays (which may be memory maps)."""
        return tuple(torch.from_numpy(np.array(array[rows])) for array in self.arrays)


class ShuffledOrder(Sampler[NDArray[np.int64]]):
    """Endless epochs of shuffled batches, where batch number i is a function of (seed, i) alone.

    A run that resumes at step i therefore sees the very batches that it would have seen undisturbed. The samples left
    over at an epoch's end are dropped, as a rule fewer than a batch; a set smaller than a batch is one batch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, start: int = 0):
        self.n, self.seed, self.start = n, seed, start
        self.batch_size = min(batch_size, n)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        per_epoch = self.n // self.batch_size
        shuffled_epoch = -1
        for i in count(self.start):
            epoch, batch = divmod(i, per_epoch)
            if epoch != shuffled_epoch:
                order, shuffled_epoch = np.random.default_rng([self.seed, epoch]).permutation(self.n), epoch
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]


class SequentialOrder(Sampler[slice]):
    """One pass over rows start … n in order."""

    def __init__(self, n: int, batch_size: int, start: int = 0):
        self.n, self.batch_size, self.start = n, batch_size, start

    def __len__(self) -> int:
        return -(-(self.n - self.start) // self.batch_size)

    def __iter__(self) -> Iterator[slice]:
        for low in range(self.start, self.n, self.batch_size):
            yield slice(low, min(low + self.batch_size, self.n))


class TrainingBatches(pl.LightningDataModule):
    """Shuffled training batches that continue at the step where the trainer stands."""

    def __init__(self, *arrays: Array, batch_size: int, seed: int):
        super().__init__()
        self.rows, self.batch_size, self.seed = ArrayRows(*arrays), batch_size, seed

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Batches from the trainer's current step on, without end."""
        assert self.trainer is not None
        order = ShuffledOrder(len(self.rows), self.batch_size, self.seed, start=self.trainer.global_step)
        return DataLoader(self.rows, sampler=order, batch_size=None)


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
        return in_order(self.noise, batch_size=len(self.noise))


def in_order(*arrays: Array, batch_size: int, start: int = 0) -> DataLoader[tuple[Tensor, ...]]:
    """One pass over the arrays' rows from ``start`` on, in batches."""
    rows = ArrayRows(*arrays)
    return DataLoader(rows, sampler=SequentialOrder(len(rows), batch_size, start), batch_size=None)
