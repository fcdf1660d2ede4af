"""The smallest target, trained by plain gradient descent."""

import numpy as np

from secmi_exp.data.images import Images
from secmi_exp.targets.pixel.ddpm import DDPM
from secmi_exp.testing import configured

MEMBERS = Images.from_pixels(np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), dtype=np.uint8))


def recipe(*overrides: str) -> DDPM:
    """Plain gradient descent: Adam makes steps of gradients' signs, where the rounding of the smallest ones shows."""
    given = [
        "experiment=smoke", "target.batch_size=20", "target.max_steps=6", "target.warmup_steps=2",
        "target.optimizer._target_=torch.optim.SGD", "target.optimizer.lr=0.1", *overrides,
    ]  # fmt: skip
    target: DDPM = configured("target", *given)
    return target
