"""Lists in .npy and .npz files from strangers: the header is checked before memory is allocated for its array."""

import io
import lzma
import math
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from secmi_exp.errors import first_line
from secmi_exp.files.regular import open_regular

CHUNK = 2**20
"""Bytes that are read at a time, so that a header which promises more than there is costs nothing."""

OF_HEADERS = (ValueError, TypeError, KeyError, SyntaxError, OverflowError, tokenize.TokenError)
OF_ARCHIVES = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
"""Exceptions for damaged headers and archives; RuntimeError: a member is encrypted, or its compression unknown."""


class UnreadableArray(Exception):
    """A file that holds no array, or not the one that its header describes; says why, without a full stop."""


@dataclass(frozen=True)
class Header:
    """The description of an array in its file."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    fortran_order: bool

    def __str__(self) -> str:
        return f"{self.dtype} with shape {self.shape}"


Judge = Callable[[Header], None]
"""Raises where an array isn't what is needed, or has more rows than can be right."""


def read_array(path: Path, judge: Judge) -> NDArray[np.generic]:
    """The array in an .npy file.

    Args:
        path: of the file.
        judge: called with the header before anything is allocated.

    Raises:
        UnreadableArray: where that isn't what the file holds.
    """
    with _told(), open_regular(path) as file:
        return _read(file, judge)


def read_arrays(path: Path, names: tuple[str, ...], judge: Judge) -> list[NDArray[np.generic]]:
    """Arrays in an .npz file by their names.

    Args:
        path: of the file.
        names: of the arrays.
        judge: called with each header before anything is allocated.

    Raises:
        UnreadableArray: where that isn't what the file holds.
    """
    with _told(), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        held = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        if any(name not in held for name in names):
            raise UnreadableArray(f"it holds {', '.join(held) or 'no arrays'} where {' and '.join(names)} are needed")
        arrays = []
        for name in names:
            with archive.open(f"{name}.npy") as member:
                arrays.append(_read(member, judge))
        return arrays


def _read(file: IO[bytes], judge: Judge) -> NDArray[np.generic]:
    start = file.read(CHUNK)
    beginning = io.BytesIO(start)  # numpy would read a header of any length, and then refuse it
    header = _header(beginning)
    if header.dtype.hasobject:
        raise UnreadableArray("it holds Python objects, which could execute code")
    if not header.dtype.itemsize or any(size < 0 for size in header.shape):
        raise UnreadableArray(f"its header describes an array of {header}, which can't be")
    judge(header)
    content, size = bytearray(start[beginning.tell() :]), math.prod(header.shape) * header.dtype.itemsize
    while len(content) < size:
        piece = file.read(min(CHUNK, size - len(content)))
        if not piece:
            raise UnreadableArray(f"it ends after {len(content):,} of the {size:,} bytes that its header describes")
        content += piece
    if header.dtype.kind == "U":  # numpy makes texts of any numbers, which Python then fails on
        characters = np.frombuffer(content, np.dtype(np.uint32).newbyteorder(header.dtype.byteorder))
        if characters.size and characters.max() > sys.maxunicode:
            raise UnreadableArray(f"it holds the number {characters.max()}, which is no character")
    values: NDArray[np.generic] = np.frombuffer(content, header.dtype, math.prod(header.shape))
    return values.reshape(header.shape, order="F" if header.fortran_order else "C")


def _header(file: IO[bytes]) -> Header:
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran_order, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran_order, dtype = npy.read_array_header_2_0(file)
    else:
        raise UnreadableArray(f"it has version {version} of the format, and 1.0 and 2.0 are read")
    return Header(shape, dtype, fortran_order)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableArray(error.strerror or first_line(error)) from error
    except (RecursionError, MemoryError) as error:  # of the parser of headers, which have 10,000 characters at most
        raise UnreadableArray("its header can't be parsed") from error
    except (*OF_HEADERS, *OF_ARCHIVES) as error:
        raise UnreadableArray(first_line(error)) from error
