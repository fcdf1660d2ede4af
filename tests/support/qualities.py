"""The quality of a target that has learnt by heart."""

from pathlib import Path

import numpy as np

from secmi_exp.data.images import Images
from secmi_exp.quality.measures import Measures
from secmi_exp.quality.quality import Quality
from secmi_exp.store import Store
from secmi_exp.testing import configured, cpu_runtime
from tests.support.memorizing import T, memorizing

N, SIDE = 24, 4

RANDOM = np.random.default_rng(0)

PIXELS = RANDOM.integers(0, 256, (N, 1, SIDE, SIDE), dtype=np.uint8)

IS_MEMBER = np.arange(N) % 2 == 0


def quality(*overrides: str) -> Quality:
    small = ["quality=measured", "quality.samples=40", "quality.steps=5", "quality.blocks=3", "quality.timesteps=4"]
    made: Quality = configured("quality", *small, *overrides)
    return made


def measured(store: Path, *overrides: str, fails_after: int | None = None) -> Measures:
    target = memorizing(Images.from_pixels(PIXELS[IS_MEMBER]), fails_after=fails_after)
    return quality(*overrides).measure(target, T, Images.from_pixels(PIXELS), IS_MEMBER, Store(store), cpu_runtime())
