"""Peak memory of walking many images over 30 timesteps and judging them, with a network that costs nothing."""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from experiments.benchmarks.measure import Figure

NUMBERS = (10_000, 30_000, 100_000)
T_MAX, K = 300, 10
CHUNK = 1000


def benchmark(device: torch.device, numbers: tuple[int, ...] = NUMBERS) -> list[Figure]:
    """A process for each number of images, since a peak never comes down."""
    figures = []
    for n in numbers:
        command = [sys.executable, "-m", "experiments.benchmarks.memory", device.type, str(n)]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        gib, rate = map(float, finished.stdout.split()[-2:])
        name = f"{n:,} images of 3×32×32, {T_MAX // K} timesteps"
        figures.append(Figure.of("memory", f"{name}: peak above the imports", [gib], "GiB"))
        figures.append(Figure.of("memory", f"{name}: rate", [rate], "images/s"))
    return figures


def main(accelerator: str, n: int) -> None:
    """Print the peak in GiB, and images/s."""
    from experiments.benchmarks.subjects import free_target, runtime
    from secmi_exp.attacks.signals.trajectories import compute_trajectories
    from secmi_exp.data.images import Images, pixel_digests
    from secmi_exp.engine.trainers import make_trainer
    from secmi_exp.evaluation.judge import judge
    from secmi_exp.evaluation.scored import Scored
    from secmi_exp.store import Store

    root = Path(tempfile.mkdtemp())
    pixels = open_memmap(root / "pixels.npy", "w+", np.uint8, (n, 3, 32, 32))
    random = np.random.default_rng(0)
    digests = []
    for low in range(0, n, CHUNK):
        pixels[low : low + CHUNK] = random.integers(0, 256, pixels[low : low + CHUNK].shape, dtype=np.uint8)
        digests.append(pixel_digests(pixels[low : low + CHUNK]))
    pixels.flush()
    del pixels
    settings = runtime(accelerator=accelerator)
    make_trainer(settings)  # imports the rest
    before = Path("/proc/self/clear_refs")
    before.write_text("5")  # the peak so far is forgotten
    baseline = status("VmRSS")
    images = Images(np.load(root / "pixels.npy", mmap_mode="r"), np.concatenate(digests), np.arange(n))
    started = time.perf_counter()
    signals = compute_trajectories(
        free_target(), images, k=K, t_max=T_MAX, maps=[], store=Store(root / "store"), runtime=settings
    )
    seconds = time.perf_counter() - started
    scored = Scored(random.standard_normal(n) - signals.t_error(T_MAX), np.arange(n) % 2 == 0)
    judge(scored, scored, rounds=1000, seed=0)
    print(max(status("VmHWM") - baseline, 0.0), n / seconds)
    shutil.rmtree(root)


def status(field: str) -> float:
    """Of this process, in GiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
