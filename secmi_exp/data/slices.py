"""Rows in order, a batch at a time."""

from collections.abc import Iterator


def slices(n: int, size: int) -> Iterator[slice]:
    """Batches of n rows; the last one is what is left.

    >>> [(rows.start, rows.stop) for rows in slices(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    return (slice(low, min(low + size, n)) for low in range(0, n, size))
