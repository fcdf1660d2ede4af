"""Attacks on the small target, and the parts of their formulas as the papers write them."""

from pathlib import Path
from typing import Any

from torch import Tensor

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.data.images import Images
from secmi_exp.testing import (
    SMALL_ALPHAS,
    SMALL_X_0,
    SmallNetwork,
    configured,
    cpu_runtime,
    numbered_noise,
    random_images,
    small_target,
)
from tests.support.runs import one_run

ALPHAS = SMALL_ALPHAS
T, N, SIDE = len(ALPHAS), 7, 8
IMAGES = random_images(N, (1, SIDE, SIDE))
X_0 = SMALL_X_0
TARGET = small_target()
EPS = SmallNetwork().double()


def measured(
    root: Path, *overrides: str, precision: str = "64", size: int = 3, images: Images = IMAGES
) -> Measurements:
    runtime = cpu_runtime(query_precision=precision, query_batch_size=size)
    with one_run(root) as store:
        return attack(*overrides).measure(TARGET, images, store, runtime)


def noise(j: int) -> Tensor:
    return numbered_noise(3, j, (1, SIDE, SIDE))


def noised(x_0: Tensor, eps: Tensor, t: int) -> Tensor:
    return ALPHAS[t] ** 0.5 * x_0 + (1 - ALPHAS[t]) ** 0.5 * eps


def attack(*overrides: str) -> Any:
    return configured("attack", "seed=3", *overrides)
