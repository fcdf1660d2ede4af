"""The smallest target, trained by plain gradient descent."""

import numpy as np
from hydra import compose, initialize_config_dir

from secmi_exp.components import component
from secmi_exp.data.images import Images
from secmi_exp.targets.ddpm import DDPM
from tests.support.commands import CONF

MEMBERS = Images.of(np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), dtype=np.uint8))


def recipe(*overrides: str) -> DDPM:
    """Plain gradient descent: Adam makes steps of gradients' signs, where the rounding of the smallest ones shows."""
    given = [
        "experiment=smoke", "target.batch_size=20", "target.max_steps=6", "target.warmup_steps=2",
        "target.optimizer._target_=torch.optim.SGD", "target.optimizer.lr=0.1", *overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        target: DDPM = component(compose("config", given), "target")
    return target
