"""Columns of Arrow tables, made of their buffers: `pyarrow.array` imports pandas, which takes half a second."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def arrow_column(values: Sequence[str] | NDArray[np.generic]) -> pa.Array:
    """Make a column of n texts, truth values or numbers, with null in place of NaN.

    >>> arrow_column(np.array([0.5, np.nan])).to_pylist(), arrow_column(["a", "µ"]).to_pylist()
    ([0.5, None], ['a', 'µ'])
    """
    if not isinstance(values, np.ndarray):
        texts = [text.encode() for text in values]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
        return pa.Array.from_buffers(pa.large_string(), len(texts), buffers).cast(pa.string())
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(values.astype(np.bool_))])
    valid = _bits(~np.isnan(values)) if np.isnan(values).any() else None
    numbers = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [valid, numbers])


def _bits(truths: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(truths, bitorder="little"))
