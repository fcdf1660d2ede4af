"""The quality of a target that has learnt by heart."""

from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from secmi_exp.components import component
from secmi_exp.data.images import Images
from secmi_exp.quality.quality import Measures, Quality
from secmi_exp.store import Store
from secmi_exp.testing import cpu_runtime
from tests.support.commands import CONF
from tests.support.memorizing import T, memorizing

N, SIDE = 24, 4

RANDOM = np.random.default_rng(0)

PIXELS = RANDOM.integers(0, 256, (N, 1, SIDE, SIDE), dtype=np.uint8)

IS_MEMBER = np.arange(N) % 2 == 0


def quality(*overrides: str) -> Quality:
    small = ["quality=measured", "quality.samples=40", "quality.steps=5", "quality.blocks=3", "quality.timesteps=4"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made: Quality = component(compose("config", [*small, *overrides]), "quality")
    return made


def measured(store: Path, *overrides: str, fails_after: int | None = None) -> Measures:
    target = memorizing(Images.of(PIXELS[IS_MEMBER]), fails_after=fails_after)
    return quality(*overrides).measure(target, T, Images.of(PIXELS), IS_MEMBER, Store(store), cpu_runtime())
