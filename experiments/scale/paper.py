"""Scale on paper: what attacking 10⁶ and 10⁹ images costs.

FLOP are counted on networks without memory, sizes come from the files that a walk makes, numbers of files from the
kinds of entries. Peak rates are NVIDIA's for an H100 SXM, dense: TensorFloat-32 494.7 and bfloat16 989.4 TFLOP/s. The
share of them that is reached is an assumption, since nothing was measured on a GPU: 30%, and 20% to 40% as a range. For
the training of ADM's largest U-Nets on V100 about 30% are derived from table 7 of Dhariwal and Nichol, "Diffusion
Models Beat GANs on Image Synthesis" (2021).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.measure import Figure
from experiments.benchmarks.subjects import recipe
from secmi_exp.attacks.signals.trajectories import ARRAYS
from secmi_exp.attacks.signals.walk import WalkPlan, plan_files
from secmi_exp.diffusion.timesteps import timesteps
from secmi_exp.engine.row_journal import WrittenBatch
from secmi_exp.store.manifest import MANIFEST

PEAKS = {"TensorFloat-32": 494.7e12, "bfloat16": 989.4e12}
"""FLOP/s of an H100 SXM."""
EFFICIENCY, RANGE = 0.3, (0.4, 0.2)
"""Assumed share of them; see above."""

IMAGES = (10**6, 10**9)
JOBS = 1000
BATCH = 1024
"""Images a batch, as the journals have them."""
IN_A_FOLDER = ("queries.json", MANIFEST)
"""Files of an entry besides its arrays."""

UNIT = 10**9


@dataclass(frozen=True)
class Case:
    """A network, and SecMI with the published timestep."""

    name: str
    shape: tuple[int, ...]
    """Shape of x_0."""
    image: int
    """Bytes of an image in the store."""
    t_sec: int
    k: int
    flop: float
    """FLOP of one query."""

    @property
    def queries(self) -> int:
        """Queries an image: at 0, k, …, t_sec."""
        return self.t_sec // self.k + 1

    @property
    def row_bytes(self) -> Mapping[str, int]:
        """Kind of entry → bytes a row, by the files that a walk makes; one map, as SecMI_NN takes it."""
        steps = timesteps(self.k, self.t_sec)
        errors, maps = {t: Path("t_errors") for t in steps}, {self.t_sec: Path("error_maps")}
        plan = WalkPlan(self.k, 0, None, 0, self.t_sec, errors, maps, Path("states"))
        sizes: dict[str, int] = dict.fromkeys(ARRAYS, 0)
        for file, (shape, dtype) in plan_files(plan, self.shape, np.dtype(np.float32)).items():
            sizes[file.parent.name] += math.prod(shape) * dtype.itemsize
        return sizes | {"t_errors": sizes["t_errors"] * len(steps)}  # one entry each


def flop_of(network: nn.Module, *inputs: torch.Tensor) -> float:
    """FLOP of one evaluation; on the device meta it costs nothing."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    return float(counter.get_total_flops())


def cases() -> list[Case]:
    """The paper's network on 32×32 images, and Stable Diffusion v1's on the latents of 512×512 images."""
    with torch.device("meta"):
        time = torch.zeros(1)
        ddpm = flop_of(UNet2DModel(**recipe("paper").network), torch.zeros(1, 3, 32, 32), time)
        unet = UNet2DConditionModel(cross_attention_dim=768, sample_size=64)  # the class's defaults otherwise
        latent = flop_of(unet, torch.zeros(1, 4, 64, 64), time, torch.zeros(1, 77, 768))
    return [
        Case("the paper's DDPM, 3×32×32", (3, 32, 32), 3 * 32 * 32, 100, 10, ddpm),
        Case("Stable Diffusion v1, 4×64×64 of 512 px", (4, 64, 64), 3 * 512 * 512, 150, 10, latent),
    ]


def figures() -> list[Figure]:
    """The figures of all cases."""
    return [figure for case in cases() for n in IMAGES for figure in figures_of(case, n)]


def figures_of(case: Case, n: int) -> list[Figure]:
    """One t_sec on n images in `JOBS` jobs with a slice each."""
    name, size = f"on paper: {n:.0e} images, {case.name}", case.row_bytes
    queries, steps = case.queries * n, len(timesteps(case.k, case.t_sec))
    entries = steps + 2  # the state, and the map of one timestep
    files = entries * len(IN_A_FOLDER) + steps * 1 + len(ARRAYS["states"]) + len(ARRAYS["error_maps"])
    line = len(WrittenBatch(slice(n - BATCH, n), case.queries, {"t_errors.npy": 2**31}).line)
    hours = {
        rate: [queries * case.flop / (share * peak) / 3600 for share in (EFFICIENCY, *RANGE)]
        for rate, peak in PEAKS.items()
    }
    return [
        exactly(name, f"queries, {case.queries} an image", queries, ""),
        exactly(name, "a query", case.flop / 1e9, "GFLOP"),
        *(
            Figure(name, f"H100 in {rate}, 30% [40%, 20%] of its peak", median, low, high, "GPU hours")
            for rate, (median, low, high) in hours.items()
        ),
        *(exactly(name, f"store: {kind}", n * each / UNIT, "GB") for kind, each in size.items()),
        exactly(name, "images as uint8", n * case.image / UNIT, "GB"),
        exactly(name, "journals until entries are complete", n / BATCH * line * entries / UNIT, "GB"),
        exactly(name, f"{JOBS} jobs: images a job", n // JOBS, ""),
        exactly(name, f"{JOBS} jobs: entries", JOBS * entries, ""),
        exactly(name, f"{JOBS} jobs: files in entries", JOBS * files, ""),
        exactly(name, f"{JOBS} jobs: lock files, which stay", JOBS * entries, ""),
        exactly(name, f"{JOBS} jobs: workspaces at once, at most", JOBS * entries, ""),
        exactly(name, "largest folder of entries", JOBS * steps, ""),
    ]


def exactly(name: str, what: str, value: float, unit: str) -> Figure:
    """A figure without a range."""
    return Figure.of(name, what, [value], unit)
