"""Large weights: seconds of a run that finds everything in the store, of a sweep's jobs, and of loading alone.

The digests of weights are remembered, and a sweep's jobs share the loaded target; beside each figure stands the one
without: with store.verify=always, and with a target that is loaded anew.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from experiments.benchmarks.large_pipeline import SIDE, save_large_pipeline
from experiments.benchmarks.measure import ROUNDS, Figure, alternating
from experiments.benchmarks.startup import watched
from secmi_exp.engine.kept_target import load_kept
from secmi_exp.store.remembered_digests import SETTLED_NS
from secmi_exp.targets.families.known import open_pipeline
from secmi_exp.targets.latent_predictor import LatentPredictor

IMAGES = 16
"""Images on each side; all of them are one batch."""


def benchmark(device: torch.device, stored: float, swept: float, jobs: int) -> list[Figure]:
    """All figures.

    Args:
        device: of the queries.
        stored: gigabytes of the pipeline whose results are all in the store.
        swept: gigabytes of the pipeline that a sweep attacks.
        jobs: of the sweep.
    """
    with tempfile.TemporaryDirectory() as folder:
        figures = stored_runs(device, stored, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        return [*figures, *sweep(device, swept, jobs, Path(folder)), *loads(swept, Path(folder))]


def prepared(device: torch.device, size: float, folder: Path) -> list[str]:
    """Save a pipeline and images; return the command that attacks it, with a store in the same folder."""
    save_large_pipeline(folder / "pipeline", size)
    save_images(folder)
    time.sleep(SETTLED_NS / 1e9)  # younger files aren't remembered
    return command(device, folder)


def save_images(folder: Path) -> None:
    """Save images of noise as members and hold-outs."""
    random = np.random.default_rng(0)
    for side in ("members", "holdout"):
        (folder / side).mkdir()
        for i in range(IMAGES):
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / side / f"{i}.png")


def command(device: torch.device, folder: Path) -> list[str]:
    """The attack on the pipeline and the images of a folder, one batch of them."""
    return [
        sys.executable, "-m", "secmi_exp", "+attack=pia", "logger=none", f"trainer.accelerator={device.type}",
        "target=stable_diffusion", f"target.path={folder / 'pipeline'}", "target.prompt=none", "dataset=image_folder",
        f"dataset.members={folder / 'members'}", f"dataset.holdout={folder / 'holdout'}", f"dataset.image_size={SIDE}",
        "split.attack_train=0.5", "split.calibration=0.5", f"trainer.query_batch_size={2 * IMAGES}",
    ]  # fmt: skip


def stored_runs(device: torch.device, size: float, folder: Path) -> list[Figure]:
    """Seconds of a process that computes nothing, by how the weights are recognised."""
    attack = prepared(device, size, folder)
    watched(attack, folder)
    watched(attack, folder)  # remembers the digests
    settings = {"remembered": "changed", "read anew (store.verify=always)": "always"}
    seconds: dict[str, list[float]] = {what: [] for what in settings}
    for _ in range(ROUNDS):
        for what, verify in settings.items():
            seconds[what].append(watched([*attack, f"store.verify={verify}"], folder)["end"])
    name = f"stored run on {size:g} GB of weights"
    return [Figure.of("large targets", f"{name}, digests {what}", each, "s") for what, each in seconds.items()]


def sweep(device: torch.device, size: float, jobs: int, folder: Path) -> list[Figure]:
    """Seconds of a sweep over pia's timestep: each job queries the target anew."""
    python, as_module, package, *overrides = prepared(device, size, folder)
    swept = [python, as_module, package, "-m", *overrides, f"attack.t=range(10,{10 * jobs + 1},10)"]
    seconds = watched(swept, folder)["end"]
    return [Figure.of("large targets", f"sweep of {jobs} jobs on {size:g} GB of weights", [seconds], "s")]


def loads(size: float, folder: Path) -> list[Figure]:
    """Seconds until a job has the target."""
    pipeline = open_pipeline(folder / "pipeline", "auto", None)

    def load() -> LatentPredictor:
        return LatentPredictor(pipeline)

    seconds = alternating({"from its files": load, "from an earlier job": lambda: load_kept(load, "swept")})
    return [Figure.of("large targets", f"target of {size:g} GB, {what}", each, "s") for what, each in seconds.items()]
