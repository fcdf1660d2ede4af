"""The arrays that decoding fills row after row, and its record of how far it has come, with checksums of both."""

import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.images import DIGEST_BYTES, release
from secmi_exp.data.slices import slices
from secmi_exp.files.arrays import RowFile, checksum, create_array, holds_array
from secmi_exp.files.strict_json import Json
from secmi_exp.store import SCRATCH, write_json

log = logging.getLogger(__name__)

ARRAYS: dict[str, tuple[tuple[int, ...] | None, np.dtype[Any]]] = {
    "pixels": (None, np.dtype(np.uint8)),
    "digests": ((DIGEST_BYTES,), np.dtype(np.uint8)),
    "sizes": ((2,), np.dtype(np.int32)),
    "orientations": ((), np.dtype(np.uint8)),
    "several_frames": ((), np.dtype(np.bool_)),
}
"""Field of a `DecodedBatch` → shape and type of one row; None: the image's own shape."""

READ_AT_ONCE = 1024
"""Rows that are verified at a time."""


class DecodedRows:
    """Arrays in a workspace of the store, of which the first ``done`` rows are there.

    Args:
        workspace: may hold what a killed process left; it is continued if its checksums are right.
        n: samples.
        image: (C, H, W).
    """

    def __init__(self, workspace: Path, n: int, image: tuple[int, ...]):
        self.record = workspace / SCRATCH / "progress.json"
        rows = {name: (image if shape is None else shape, dtype) for name, (shape, dtype) in ARRAYS.items()}
        files = {name: workspace / f"{name}.npy" for name in rows}
        whole = all(holds_array(files[name], (n, *shape), dtype) for name, (shape, dtype) in rows.items())
        if not whole:
            for name, (shape, dtype) in rows.items():
                create_array(files[name], (n, *shape), dtype)
        self.files = {name: RowFile(file) for name, file in files.items()}
        self.done = 0
        self.unreadable: dict[int, str] = {}
        self.checksums = dict.fromkeys(rows, 0)
        self._continue()

    def append(self, batch: Mapping[str, NDArray[Any]], unreadable: Mapping[int, str]) -> None:
        """Write the next rows.

        Args:
            batch: array → rows.
            unreadable: row → why it could not be read.
        """
        rows = slice(self.done, self.done + len(batch["pixels"]))
        for name, file in self.files.items():
            file.write(rows.start, batch[name])
            self.checksums[name] = checksum(batch[name], self.checksums[name])
        self.unreadable |= unreadable
        self.done = rows.stop

    def save(self) -> None:
        """Write rows and the record of progress to disk."""
        for file in self.files.values():
            file.flush()
        progress: dict[str, Json] = {
            "done": self.done,
            "unreadable": {str(row): why for row, why in self.unreadable.items()},
            "checksums": self.checksums,
        }
        write_json(self.record, {**progress, "checksum": checksum_of(progress)})

    def close(self) -> None:
        """Close the files."""
        for file in self.files.values():
            file.close()

    def _continue(self) -> None:
        if not self.record.exists():
            return
        try:
            progress = json.loads(self.record.read_text(encoding="utf-8"))
            whole = progress.pop("checksum") == checksum_of(progress) and self._hold(
                progress["done"], progress["checksums"]
            )
        except (OSError, ValueError, LookupError, AttributeError, TypeError):
            whole = False
        if not whole:
            log.warning("What a stopped run has decoded is not as it was written: decoding all images again.")
            return
        self.done, self.checksums = progress["done"], progress["checksums"]
        self.unreadable = {int(row): why for row, why in progress["unreadable"].items()}

    def _hold(self, done: int, checksums: Mapping[str, int]) -> bool:
        """Whether the first rows are those that were written."""
        for name, file in self.files.items():
            array, found = np.load(file.path, mmap_mode="r"), 0
            for rows in slices(done, READ_AT_ONCE):
                found = checksum(array[rows], found)
                release(array)
            if found != checksums[name]:
                return False
        return True


def checksum_of(progress: Mapping[str, Json]) -> int:
    """CRC-32 of a record."""
    return zlib.crc32(json.dumps(progress, sort_keys=True).encode())
