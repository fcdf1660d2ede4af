"""Decoding: once, in parallel, into memory-mapped arrays; a killed process continues where it was."""

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from secmi_exp.data.images import DIGEST_BYTES, ImageSet
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.data.samples import Samples
from secmi_exp.errors import UserError
from secmi_exp.git_lfs import is_pointer
from secmi_exp.store import SCRATCH, Json, write_json

FILES = ("pixels.npy", "digests.npy", "sizes.npy", "orientations.npy", "several_frames.npy", "samples.parquet")
"""That `decode` leaves, and `load` reads."""

SAVE_EVERY_S = 5.0
"""Seconds between records of progress: the work that a killed process loses at most."""


def decode(
    samples: Samples, preprocessing: Preprocessing, workspace: Path, *, skip_unreadable: bool, progress_bar: bool
) -> None:
    """Fill a workspace of the store with all samples, as `load` reads them.

    Args:
        samples: to be decoded.
        preprocessing: what makes them equal in shape.
        workspace: may hold what a killed process left.
        skip_unreadable: note broken samples instead of stopping at the first.
        progress_bar: whether to show one, on standard error.

    Raises:
        UserError: naming a sample that could not be read; the workspace is then empty again.
    """
    from secmi_exp.data.decoding_processes import decoded_in_order

    ids = samples.ids()
    record = workspace / SCRATCH / "progress.json"
    done, unreadable = 0, dict[int, str]()
    with suppress(OSError, ValueError):
        progress = json.loads(record.read_text(encoding="utf-8"))
        done, unreadable = progress["done"], {int(row): why for row, why in progress["unreadable"].items()}
    mode = "r+" if done else "w+"
    pixels = open_memmap(workspace / "pixels.npy", mode, np.uint8, (len(ids), *preprocessing.shape))
    digests = open_memmap(workspace / "digests.npy", mode, np.uint8, (len(ids), DIGEST_BYTES))
    sizes = open_memmap(workspace / "sizes.npy", mode, np.int32, (len(ids), 2))
    orientations = open_memmap(workspace / "orientations.npy", mode, np.uint8, (len(ids),))
    several_frames = open_memmap(workspace / "several_frames.npy", mode, np.bool_, (len(ids),))

    def save() -> None:
        for array in (pixels, digests, sizes, orientations, several_frames):
            array.flush()
        reasons: dict[str, Json] = {str(row): why for row, why in unreadable.items()}
        write_json(record, {"done": done, "unreadable": reasons})

    saved_at = time.monotonic()
    for batch in decoded_in_order(samples, preprocessing, len(ids), done, progress_bar):
        if batch.unreadable and not skip_unreadable:
            row, why = next(iter(batch.unreadable.items()))
            shutil.rmtree(workspace)
            workspace.mkdir()
            raise unreadable_sample(samples.place(row), why)
        rows = slice(done, done + len(batch.pixels))
        pixels[rows], digests[rows], sizes[rows] = batch.pixels, batch.digests, batch.sizes
        orientations[rows], several_frames[rows] = batch.orientations, batch.several_frames
        done = rows.stop
        unreadable |= batch.unreadable
        if time.monotonic() - saved_at > SAVE_EVERY_S:
            save()
            saved_at = time.monotonic()
    save()
    columns = {
        "id": pa.array(ids, pa.string()),
        "error": pa.array([unreadable.get(row) for row in range(len(ids))], pa.string()),
    }
    pa.parquet.write_table(pa.table(columns), workspace / "samples.parquet")


def unreadable_sample(place: str, why: str) -> UserError:
    """What to tell of a broken image."""
    if is_pointer(Path(place)):
        why = "a pointer of Git LFS lies in its place: fetch it by `git lfs pull`"
    return UserError(f"The image {place} can't be read ({why}): mend it, or leave it out by dataset.on_error=skip.")


def load(entry: Path, is_member: NDArray[np.bool_] | None, captions: Sequence[str | None] | None) -> ImageSet:
    """What `decode` has written, its pixels memory-mapped, with the membership and captions that the samples state."""
    table = pa.parquet.read_table(entry / "samples.parquet")
    return ImageSet(
        pixels=np.load(entry / "pixels.npy", mmap_mode="r"),
        digests=np.load(entry / "digests.npy"),
        ids=table["id"].to_pylist(),
        unreadable={row: why for row, why in enumerate(table["error"].to_pylist()) if why is not None},
        is_member=is_member,
        captions=captions,
        sizes=np.load(entry / "sizes.npy"),
        orientations=np.load(entry / "orientations.npy"),
        several_frames=np.load(entry / "several_frames.npy"),
    )
