"""Reads W&B's offline file: a LevelDB log (32 KiB blocks of CRC, length, type, data) of protobuf records."""

import struct
from collections.abc import Iterator
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
LAST_TYPES = (1, 4)  # a full record, or the last part of one


def records(path: Path) -> Iterator[wandb_internal_pb2.Record]:
    """All records of the file, in order."""
    data = path.read_bytes()
    assert data.startswith(b":W&B")
    position, parts = HEADER, b""
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:  # a block's padded end
            position += BLOCK - position % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        parts += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in LAST_TYPES:
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""
