"""The processes that decode images side by side."""

import math
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from secmi_exp.data.image_formats import exif_orientation, has_several_frames
from secmi_exp.data.images import pixel_digests
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.data.samples import Samples
from secmi_exp.engine.worker_processes import end_with_parent
from secmi_exp.errors import first_line
from secmi_exp.formatting import printable
from secmi_exp.progress import WorkProgress

BATCH = 256
"""Images that a process decodes at a time …"""
BATCH_BYTES = 2**24
"""… unless they are large: a few batches are on their way from each process at a time."""
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
"""Named, since a job of joblib's comes with a start method of its own that no data loader can use."""
SAMPLES_A_WORKER = 1000
"""Fewer are decoded before another process has started."""


class DecodedBatch(NamedTuple):
    """Some samples in order."""

    pixels: NDArray[np.uint8]
    """[B, C, H, W]; of a sample that could not be read, zeros."""
    digests: NDArray[np.uint8]
    """See `pixel_digests`. [B, 16]."""
    sizes: NDArray[np.int32]
    """Width and height before anything was done to the image; zeros where it could not be read. [B, 2]."""
    orientations: NDArray[np.uint8]
    """See `exif_orientation`; of a sample that could not be read, zeros. [B]."""
    several_frames: NDArray[np.bool_]
    """See `has_several_frames`. [B]."""
    unreadable: dict[int, str]
    """Row → reason."""


class DecodedBatches(Dataset[DecodedBatch]):
    """Batches of samples, decoded when they are accessed."""

    def __init__(self, samples: Samples, preprocessing: Preprocessing):
        self.samples, self.preprocessing = samples, preprocessing

    def __getitem__(self, rows: slice) -> DecodedBatch:
        """Decode samples start … stop."""
        pixels = np.zeros((rows.stop - rows.start, *self.preprocessing.shape), dtype=np.uint8)
        sizes = np.zeros((len(pixels), 2), dtype=np.int32)
        orientations, several_frames = np.zeros(len(pixels), dtype=np.uint8), np.zeros(len(pixels), dtype=bool)
        unreadable = {}
        for index, row in enumerate(range(rows.start, rows.stop)):
            try:
                with self.samples.open(row) as image:
                    size, animated = image.size, has_several_frames(image)
                    pixels[index] = self.preprocessing(image)
                    sizes[index], orientations[index], several_frames[index] = size, exif_orientation(image), animated
            except FileNotFoundError:
                unreadable[row] = "there is no such file"
            except Exception as error:  # PIL raises a dozen kinds, by format and damage
                unreadable[row] = reason(error)
        return DecodedBatch(pixels, pixel_digests(pixels), sizes, orientations, several_frames, unreadable)


def usable_processors() -> int:
    """Return the number of processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(worker: int) -> None:
    end_with_parent()


def _as_it_is(batch: Any) -> Any:
    """Keep a batch as arrays, which are sent through a pipe: tensors would need shared memory and files in $TMPDIR."""
    return batch


def reason(error: Exception) -> str:
    """Why an image can't be read, for a sentence and for the store.

    >>> reason(PermissionError(13, "Permission denied", "cat.png"))
    'Permission denied'
    """
    reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    return printable(reason)


def decoded_in_order(
    samples: Samples, preprocessing: Preprocessing, n: int, start: int, progress_bar: bool
) -> Iterator[DecodedBatch]:
    """Batches from row ``start`` on, decoded by as many processes as there are processors, with their progress."""
    size = max(1, min(BATCH, BATCH_BYTES // math.prod(preprocessing.shape)))
    workers = min(usable_processors(), (n - start) // SAMPLES_A_WORKER)
    batches: DataLoader[DecodedBatch] = DataLoader(
        DecodedBatches(samples, preprocessing),
        sampler=[slice(low, min(low + size, n)) for low in range(start, n, size)],
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_start if workers else None,
        collate_fn=_as_it_is,
        multiprocessing_context=START_METHOD if workers else None,
    )
    done = start
    with WorkProgress("Decoding images", n, "images", start, shown=progress_bar) as progress:
        for batch in batches:
            yield batch
            done += len(batch.pixels)
            progress.advance(done, len(batch.pixels))
