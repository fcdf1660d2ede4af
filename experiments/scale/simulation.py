"""Runs and jobs on many images with a network that costs nothing: what is left is what surrounds the network.

`measure_run` carries out a whole run, from the dataset to results.json; `measure_writers` lets many processes work on
one store at once, as the jobs of a SLURM array do.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from filelock import FileLock

from experiments.benchmarks.measure import Figure
from experiments.benchmarks.memory import status
from experiments.benchmarks.subjects import free_target
from experiments.scale.subjects import SIDE, register
from secmi_exp import testing
from secmi_exp.attacks.signals.trajectories import compute_trajectories
from secmi_exp.data.images import Images, pixel_digests
from secmi_exp.engine.trainers import make_trainer
from secmi_exp.run_state import timed
from secmi_exp.store import SCRATCH, Key, Place, Store

SIZES = (10_000, 100_000, 1_000_000)
T_SEC, K = 100, 10
ROUNDS = 100
"""Bootstrap resamples, whose time grows with their number as it does with that of the images."""

WRITERS, IMAGES = 32, 1_000_000
BATCH = 1024
"""Images a batch of the writers, as a GPU takes them."""


class Journals:
    """Adds up the bytes of the journals and records that entries' workspaces had when they were sealed."""

    def __init__(self) -> None:
        self.bytes = 0
        self.seal = Store._seal

    def __call__(self, store: Store, key: Key) -> None:
        """In the place of `Store._seal`."""
        scratch = store._workspace(key) / SCRATCH
        self.bytes += sum(file.stat().st_size for file in scratch.rglob("*") if file.is_file())
        self.seal(store, key)


def warm_up() -> None:
    """Import all that a run needs."""
    register()
    with in_new_folder() as root:
        run_once(root, 200)


def measure_run(n: int) -> list[Figure]:
    """Processor time and memory by stage, and what lies in the store."""
    name, journals = f"run on {n:,} images", Journals()
    with in_new_folder() as root, mock.patch.object(Store, "_seal", lambda *arguments: journals(*arguments)):
        first, peaks = run_once(root, n)
        again, peaks_again = run_once(root, n)
        files = [file for file in (root / "store").rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        manifest = max(file.stat().st_size for file in files if file.name == "entry.json")
        output = sum(file.stat().st_size for file in (root / "runs").rglob("*") if file.is_file()) / 2
    return [
        *(Figure.of(name, stage, [1e6 * seconds / n], "µs an image") for stage, seconds in first.items()),
        *(Figure.of(name, f"again: {stage}", [1e6 * seconds / n], "µs an image") for stage, seconds in again.items()),
        *(Figure.of(name, f"{stage}: peak memory", [peak], "MiB") for stage, peak in peaks.items()),
        Figure.of(name, "again: peak memory", [max(peaks_again.values())], "MiB"),
        Figure.of(name, "files in the store", [len(files)], ""),
        Figure.of(name, "store", [size / n], "bytes an image"),
        Figure.of(name, "journals until entries are complete", [journals.bytes / n], "bytes an image"),
        Figure.of(name, "largest manifest", [manifest / 2**10], "KiB"),
        Figure.of(name, "folder of the run", [output / n], "bytes an image"),
    ]


@contextmanager
def in_new_folder() -> Iterator[Path]:
    """A temporary folder."""
    root = Path(tempfile.mkdtemp())
    yield root
    shutil.rmtree(root)


def run_once(root: Path, n: int) -> tuple[dict[str, float], dict[str, float]]:
    """Stage → processor seconds of it, ``all`` for the whole run; and stage → peak memory above that before, in MiB."""
    overrides = ["+attack=stat", "dataset=noise_images", "target=free", f"attack.t_sec={T_SEC}", f"attack.k={K}"]
    overrides += [f"dataset.images={n}", "trainer.progress_bar=false", f"evaluation.bootstrap_rounds={ROUNDS}"]
    seconds, peaks, before = dict[str, float](), dict[str, float](), status("VmRSS")

    @contextmanager
    def measured(given: dict[str, Any], stage: str) -> Iterator[None]:
        """In the place of `timed`."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        with timed(given, stage):
            started = processor_seconds()
            yield
            seconds[stage] = processor_seconds() - started
        peaks[stage] = max(status("VmHWM") - before, 0.0) * 1024

    started = processor_seconds()
    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        mock.patch("secmi_exp.pipeline.timed", measured),
    ):
        testing.run(root, *overrides)
    return {"all": processor_seconds() - started, **seconds}, peaks


def processor_seconds() -> float:
    """Processor time of this process and of those that it has waited for: other work on the machine does not count."""
    return sum(os.times()[:4])


class MeasuredStore(Store):
    """Notes how long locks were waited for, and how often one was tried for."""

    def __init__(self, root: Path):
        super().__init__(root)
        self.waited, self.longest, self.taken = 0.0, 0.0, 0

    @contextmanager
    def _locked(self, key: Place, *, wait: bool = True) -> Iterator[None]:
        started = time.perf_counter()
        with super()._locked(key, wait=wait):
            waited = time.perf_counter() - started
            self.waited, self.longest, self.taken = self.waited + waited, max(self.longest, waited), self.taken + 1
            yield


Job = Callable[[int, Images, Store], int]
"""Gets its number, all images and the store; returns the images that it has answered."""


def slice_of_images(writers: int, number: int, images: Images, store: Store) -> int:
    """Each job has images of its own, as those of an array over the slices of a dataset."""
    mine = Images(images.pixels, images.digests, np.array_split(images.rows, writers)[number])
    return walk(mine, T_SEC, store)


def same_entries(writers: int, number: int, images: Images, store: Store) -> int:
    """All jobs want the same: one of them makes it, the others wait."""
    return walk(images, T_SEC, store)


def timestep_of_its_own(writers: int, number: int, images: Images, store: Store) -> int:
    """Jobs of a sweep over t_sec that were started at once: each needs what those before it need, and a step more."""
    return walk(images, K * (number + 1), store)


def walk(images: Images, t_max: int, store: Store) -> int:
    """Walk to t_max."""
    runtime = testing.cpu_runtime(query_batch_size=BATCH)
    compute_trajectories(free_target(), images, k=K, t_max=t_max, maps=[], store=store, runtime=runtime)
    return len(images)


def kinds_of_jobs(n: int = IMAGES, writers: int = WRITERS) -> list[Callable[[], list[Figure]]]:
    """Measurements of three kinds of jobs, each with a store of its own; all but slices on a tenth of the images."""
    few = n // 10
    return [
        partial(measure_writers, f"{writers} jobs, slices of {n:,} images", slice_of_images, writers, n),
        partial(measure_writers, f"{writers} jobs, all for the same {few:,} images", same_entries, writers, few),
        partial(measure_writers, f"{writers} jobs, a t_sec each of {few:,} images", timestep_of_its_own, writers, few),
    ]


def measure_writers(name: str, job: Callable[..., int], writers: int, n: int) -> list[Figure]:
    """Start the processes by a fork, so that imports cost none of them anything; each at once."""
    root = Path(tempfile.mkdtemp())
    pixels = np.random.default_rng(0).integers(0, 256, (n, 1, SIDE, SIDE), dtype=np.uint8)
    np.save(root / "pixels.npy", pixels)
    images = Images(np.load(root / "pixels.npy", mmap_mode="r"), pixel_digests(pixels), np.arange(n))
    del pixels
    make_trainer(testing.cpu_runtime())  # imports the rest
    (root / "told").mkdir()
    started = time.perf_counter()
    children = []
    for number in range(writers):
        child = os.fork()
        if not child:
            status_of_child = 1
            try:
                tell(root / f"told/{number}", partial(job, writers, number, images), MeasuredStore(root / "store"))
                status_of_child = 0
            finally:
                os._exit(status_of_child)
        children.append(child)
    failed = [child for child in children if os.waitpid(child, 0)[1]]
    seconds = time.perf_counter() - started
    if failed:
        raise RuntimeError(f"{len(failed)} of {writers} writers have failed.")
    told = [json.loads((root / f"told/{number}").read_text(encoding="utf-8")) for number in range(writers)]
    made = [each for each in told if each["built"]]
    folders = {kind.name: len([*kind.iterdir()]) for kind in (root / "store").iterdir()}
    store = [file.stat().st_size for file in (root / "store").rglob("*") if file.is_file()]
    shutil.rmtree(root)
    return [
        Figure.of(name, "all jobs together", [seconds], "s"),
        Figure.of(name, "processor time, all jobs", [1e6 * sum(each["seconds"] for each in told) / n], "µs an image"),
        Figure.of(name, "images answered for in all", [sum(each["images"] for each in told) / seconds], "images/s"),
        Figure.of(name, "jobs that have computed something", [len(made)], ""),
        Figure.of(name, "waiting for locks, a job", [each["waited"] for each in told], "s"),
        Figure.of(name, "longest wait for one lock, a job", [each["longest"] for each in told], "s"),
        Figure.of(name, "locks taken, a job", [each["taken"] for each in told], ""),
        Figure.of(name, "attempts to get a lock, a job", [each["attempts"] for each in told], ""),
        Figure.of(name, "peak memory above the fork, a job", [each["peak"] for each in told], "MiB"),
        Figure.of(name, "last job after the first that was done", [last_after_first(told)], "s"),
        Figure.of(name, "files in the store", [len(store)], ""),
        Figure.of(name, "store", [sum(store) / n], "bytes an image"),
        *(Figure.of(name, f"entries of the folder {kind}", [count], "") for kind, count in sorted(folders.items())),
    ]


def last_after_first(told: list[dict[str, float]]) -> float:
    """Seconds between the first job's end and the last one's."""
    ends = [each["ended"] for each in told]
    return max(ends) - min(ends)


def tell(file: Path, job: Callable[[Store], int], store: MeasuredStore) -> None:
    """Carry out a job within a child process, and write what it took."""
    torch.set_num_threads(1)  # threads of the parent's are not there after a fork
    attempts, acquire = 0, FileLock.acquire

    def counted(lock: FileLock, *arguments: Any, **keywords: Any) -> Any:
        nonlocal attempts
        attempts += 1
        return acquire(lock, *arguments, **keywords)

    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    builds = 0
    build = Store._build

    def counted_build(*arguments: Any) -> None:
        nonlocal builds
        builds += 1
        build(*arguments)

    with mock.patch.object(FileLock, "acquire", counted), mock.patch.object(Store, "_build", counted_build):
        images = job(store)
    told = {
        "images": images, "waited": store.waited, "longest": store.longest, "taken": store.taken, "built": builds,
        "attempts": attempts, "peak": (status("VmHWM") - before) * 1024, "ended": time.time(),
        "seconds": processor_seconds(),
    }  # fmt: skip
    file.write_text(json.dumps(told), encoding="utf-8")
