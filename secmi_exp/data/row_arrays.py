"""What batches are taken from."""

from typing import Any, Protocol

from numpy.typing import NDArray


class RowArray(Protocol):
    """Anything with rows that are copied out when a batch is asked for: arrays, memory maps, `Images`, `StoredRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its end is the shape of a row: […, H, W]."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> NDArray[Any]: ...
