"""What the simulation runs on: images of noise, and a target whose network costs nothing, as configured components."""

from typing import Any, ClassVar

import numpy as np
from hydra.core.config_store import ConfigStore
from pydantic.dataclasses import dataclass

from experiments.benchmarks.subjects import Free, T
from secmi_exp.data.dataset import Dataset
from secmi_exp.data.images import Images, ImageSet, Pixels, pixel_digests
from secmi_exp.data.samples import ArraySamples
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.store import Store
from secmi_exp.targets.interface import InputSpace, PreparedTarget

SIDE = 8
"""Pixels a side of an image; what surrounds the network depends on the number of images more than on their size."""


@dataclass(frozen=True, kw_only=True)
class NoiseImages(Dataset):
    """Gray images of uniform noise: ``dataset=noise_images``."""

    images: int
    seed: int = 0

    def samples(self) -> ArraySamples:
        """Known by their number."""
        return ArraySamples("noise", f"noise {self.images} {SIDE} {self.seed}", self.draw)

    def load(self, store: Store, *, progress_bar: bool) -> ImageSet:
        """Without decoding, which is measured elsewhere."""
        pixels = self.draw()[:, None]
        return ImageSet(pixels, pixel_digests(pixels), [f"noise/{row}" for row in range(self.images)], {}, None)

    def draw(self) -> Pixels:
        """Draw them, [N, SIDE, SIDE]."""
        shape = (self.images, SIDE, SIDE)
        return np.random.default_rng(self.seed).integers(0, 256, shape, dtype=np.uint8)


@dataclass(frozen=True)
class FreeTarget:
    """A target whose network costs nothing, see `Free`: ``target=free``."""

    conditions: ClassVar[tuple[str, ...]] = ()
    input_space: ClassVar[InputSpace] = "pixels"
    trained_here: ClassVar[bool] = False

    name: str = "free"

    @property
    def timesteps(self) -> Timesteps:
        """A thousand."""
        return Timesteps.with_signal_everywhere(T)

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Nothing is trained."""
        return PreparedTarget(store.root, "free", load=Free, trained_on=members.digest)


def register() -> None:
    """Make both a choice of the configuration, within this process."""
    nodes: dict[str, dict[str, Any]] = {
        "dataset": {
            "_target_": f"{NoiseImages.__module__}.NoiseImages", "name": "noise_images", "source": "drawn",
            "licence": "", "image_size": SIDE, "channels": 1, "crop": None, "horizontal_flip": False,
            "on_error": "stop", "images": 10_000, "seed": 0, "suggested": {"members": None, "t_sec": 100},
        },
        "target": {"_target_": f"{FreeTarget.__module__}.FreeTarget", "name": "free"},
    }  # fmt: skip
    for group, name in (("dataset", "noise_images"), ("target", "free")):
        ConfigStore.instance().store(group=group, name=name, node=nodes[group])
