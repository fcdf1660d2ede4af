"""Reads W&B's offline file: a LevelDB log (32 KiB blocks of CRC, length, type, data) of protobuf records."""

import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
LAST_TYPES = (1, 4)  # a full record, or the last part of one

Records = Sequence[wandb_internal_pb2.Record]


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


def all_records(folder: Path) -> Records:
    """What the one offline run below a run's directory holds, once W&B's service has written its end."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    deadline, written = time.monotonic() + 20, list(records(file))
    while not any(record.HasField("exit") for record in written):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        written = list(records(file))
    return written


def logged_names(written: Records) -> set[str]:
    """Of all that the history holds."""
    return {item.key or item.nested_key[0] for record in written for item in record.history.item}


def summarized_names(written: Records) -> set[str]:
    """Of all that the summary holds."""
    return {item.key or item.nested_key[0] for record in written for item in record.summary.update}


def artifacts(written: Records) -> dict[str, wandb_internal_pb2.ArtifactRecord]:
    """Name → artifact, those aside that W&B makes of each table."""
    found = [record.artifact for record in written if record.HasField("artifact")]
    return {artifact.name: artifact for artifact in found if artifact.type != "run_table"}


WANDB = {
    "_target_": "secmi_exp.tracking.logger.wandb_tracker",
    "project": "p",
    "entity": None,
    "mode": "offline",
    "timeout_s": 60,
    "artifacts": True,
}
