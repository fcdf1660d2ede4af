"""Arrays whose rows are read when a batch of them is needed, in memory or on disk."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.images import Rows, release


class RowArray(Protocol):
    """An array whose rows are copied when a batch is accessed: arrays, memory maps, `Images`, `StoredRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, …], with the shape of a row after the number of rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class StoredRows:
    """Rows of an .npy file, each as often as it is listed; pickled, it is the file's path and the rows."""

    file: Path
    rows: Rows
    """[n]."""

    @cached_property
    def array(self) -> NDArray[Any]:
        """The whole file, memory-mapped."""
        content: NDArray[Any] = np.load(self.file, mmap_mode="r")
        return content

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, …]."""
        return (len(self), *self.array.shape[1:])

    def __getitem__(self, batch: Rows | slice) -> NDArray[Any]:
        """A copy of a batch, [B, …]."""
        copy: NDArray[Any] = self.array[self.rows[batch]]
        if isinstance(batch, slice):  # of a pass in order, which does not come back
            release(self.array)
        return copy

    def __reduce__(self) -> "tuple[Callable[..., StoredRows], tuple[Path, Rows]]":
        return StoredRows, (self.file, self.rows)
