"""Decoding: once, in parallel, into memory-mapped arrays; a killed process continues where it was."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from secmi_exp.data.decoded_rows import ARRAYS, DecodedRows
from secmi_exp.data.images import ImageSet
from secmi_exp.data.labels import Labels
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.data.samples import Samples
from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.git_lfs import is_pointer

decoded_in_order = Deferred("secmi_exp.data.decoding_processes:decoded_in_order")

FILES = (*(f"{name}.npy" for name in ARRAYS), "samples.parquet")
"""Files that `decode` writes and `load` reads."""

SAVE_EVERY_S = 5.0
"""Seconds between records of progress: the work that a killed process loses at most."""


def decode(
    samples: Samples, preprocessing: Preprocessing, workspace: Path, *, skip_unreadable: bool, progress_bar: bool
) -> None:
    """Fill a workspace of the store with all samples, as `load` reads them.

    Args:
        samples: samples to decode.
        preprocessing: preprocessing to one shape.
        workspace: may hold what a killed process left.
        skip_unreadable: note broken samples instead of stopping at the first.
        progress_bar: whether to show one, on standard error.

    Raises:
        UserError: naming a sample that could not be read; the workspace is then empty again.
    """
    ids = samples.ids()
    decoded = DecodedRows(workspace, len(ids), preprocessing.shape)
    saved_at = time.monotonic()
    for batch in decoded_in_order(samples, preprocessing, len(ids), decoded.done, progress_bar):
        if batch.unreadable and not skip_unreadable:
            row, why = next(iter(batch.unreadable.items()))
            shutil.rmtree(workspace)
            workspace.mkdir()
            raise unreadable_sample(samples.place(row), why)
        decoded.append({name: getattr(batch, name) for name in ARRAYS}, batch.unreadable)
        if time.monotonic() - saved_at > SAVE_EVERY_S:
            decoded.save()
            saved_at = time.monotonic()
    decoded.save()
    decoded.close()
    columns = {
        "id": pa.array(ids, pa.string()),
        "error": pa.array([decoded.unreadable.get(row) for row in range(len(ids))], pa.string()),
    }
    pa.parquet.write_table(pa.table(columns), workspace / "samples.parquet")


def unreadable_sample(place: str, why: str) -> UserError:
    """The error for an image that can't be decoded."""
    if is_pointer(Path(place)):
        why = "a pointer of Git LFS lies in its place: fetch it by `git lfs pull`"
    return UserError(f"The image {place} can't be read ({why}): repair it, or leave it out by dataset.on_error=skip.")


def load(
    entry: Path,
    is_member: NDArray[np.bool_] | None,
    captions: Sequence[str | None] | None,
    labels: Labels | None = None,
) -> ImageSet:
    """Read what `decode` has written; pixels are memory-mapped.

    Args:
        entry: of the store.
        is_member: membership, as the samples have it.
        captions: captions of the samples.
        labels: class labels of the samples.
    """
    table = pa.parquet.ParquetFile(entry / "samples.parquet").read()  # read_table would import what datasets need
    return ImageSet(
        pixels=np.load(entry / "pixels.npy", mmap_mode="r"),
        digests=np.load(entry / "digests.npy"),
        ids=table["id"].to_pylist(),
        unreadable={row: why for row, why in enumerate(table["error"].to_pylist()) if why is not None},
        is_member=is_member,
        captions=captions,
        labels=labels,
        sizes=np.load(entry / "sizes.npy"),
        orientations=np.load(entry / "orientations.npy"),
        several_frames=np.load(entry / "several_frames.npy"),
    )
