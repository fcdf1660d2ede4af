"""What surrounds the network: images/s with one that costs nothing, and the share of the time outside the paper's."""

import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.measure import ROUNDS, Figure
from experiments.benchmarks.subjects import free_target, images, network, runtime, saved_target
from secmi_exp.attacks.signals.trajectories import compute_trajectories
from secmi_exp.diffusion.noise_predictor import NoisePredictor
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget

T_MAX, K = 100, 10


def seconds(target: PreparedTarget, size: str, n: int, device: torch.device) -> float:
    """Of a walk from nothing to what the store keeps."""
    pictures, root = images(size, n), Path(tempfile.mkdtemp())
    started = time.perf_counter()
    compute_trajectories(
        target, pictures, k=K, t_max=T_MAX, maps=[], store=Store(root), runtime=runtime(accelerator=device.type)
    )
    elapsed = time.perf_counter() - started
    shutil.rmtree(root)
    return elapsed


class Clock:
    """Adds up the time that a network takes; on a GPU it makes each pass be waited for."""

    def __init__(self) -> None:
        self.inside, self.started = 0.0, 0.0

    def attach(self, target: PreparedTarget) -> PreparedTarget:
        """A target whose network is timed."""
        return PreparedTarget(target.folder, target.digest, partial(self._load, target))

    def _load(self, target: PreparedTarget) -> NoisePredictor:
        predictor = target.load()
        predictor.network.register_forward_pre_hook(self._start)
        predictor.network.register_forward_hook(self._stop)
        return predictor

    def _start(self, *_: Any) -> None:
        self.started = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.inside += time.perf_counter() - self.started


def benchmark(device: torch.device, free: int, n: int, size: str = "paper") -> list[Figure]:
    """Both figures.

    Args:
        device: of both.
        free: images for the network that costs nothing.
        n: images for the network that costs something.
        size: of that network.
    """
    name = f"overhead, t_max = {T_MAX}"
    rates = [free / seconds(free_target(), "paper", free, device) for _ in range(ROUNDS)]
    root = Path(tempfile.mkdtemp())
    target, shares = saved_target(network(size), root), []
    for _ in range(ROUNDS):
        clock = Clock()
        elapsed = seconds(clock.attach(target), size, n, device)
        shares.append(100 * (1 - clock.inside / elapsed))
    shutil.rmtree(root)
    return [
        Figure.of(name, f"network that costs nothing, 3×32×32, {free:,} images", rates, "images/s"),
        Figure.of(name, f"time outside the {size} network, {n} images", shares, "%"),
    ]
