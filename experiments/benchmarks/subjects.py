"""What the benchmarks run on: networks by their size, images, and a target made of both."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from secmi_exp.configuration.components import component
from secmi_exp.data.digits import digit_pixels
from secmi_exp.data.images import Images
from secmi_exp.data.model_range import to_model_range
from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor
from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.engine.runtime import Runtime
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.pixel.ddpm import DDPM
from secmi_exp.targets.pixel.predictor import PixelPredictor

CONF = Path(__file__).parents[2] / "conf"
T = 1000


def configured(group: str, *overrides: str) -> Any:
    """A component as a run gets it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return component(compose("config", list(overrides)), group)


def recipe(size: str, *overrides: str) -> DDPM:
    """small: 0.63 M parameters on 8×8 gray digits; paper: 35.7 M on 32×32 photographs."""
    chosen = ["target=ddpm_small"] if size == "small" else ["target=ddpm", "dataset=cifar10"]
    target: DDPM = configured("target", *chosen, *overrides)
    return target


def runtime(**settings: Any) -> Runtime:
    """The trainer's defaults, but for these."""
    given = {"progress_bar": False} | settings
    chosen: Runtime = configured("trainer", *(f"trainer.{name}={value}" for name, value in given.items()))
    return chosen


def images(size: str, n: int) -> Images:
    """Real digits; or pieces of real photographs."""
    if size == "small":
        return Images.from_pixels(np.resize(digit_pixels(), (n, 1, 8, 8)))
    from skimage.data import astronaut, coffee

    photographs, random = (astronaut(), coffee()), np.random.default_rng(0)
    pieces = []
    for i in range(n):
        photograph = photographs[i % 2]
        y, x = (int(random.integers(0, side - 32)) for side in photograph.shape[:2])
        pieces.append(photograph[y : y + 32, x : x + 32].transpose(2, 0, 1))
    return Images.from_pixels(np.stack(pieces))


def scaled(pictures: Images, device: torch.device) -> Tensor:
    """In [−1, 1]."""
    return to_model_range(torch.from_numpy(pictures[:])).to(device)


def network(size: str) -> UNet2DModel:
    """With random weights: what a query costs does not depend on them."""
    torch.manual_seed(0)
    return UNet2DModel(**recipe(size).network).eval()


def saved_target(unet: UNet2DModel, folder: Path) -> PreparedTarget:
    """A target whose weights lie on disk, as all do."""
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler(T)).save_pretrained(folder)
    return PreparedTarget(folder, "benchmark", load=partial(PixelPredictor, folder))


class Free(NoisePredictor):
    """A noise predictor that costs nothing: what is left is what surrounds it."""

    def __init__(self) -> None:
        super().__init__()
        self.path = GaussianPath.from_alphas_cumprod(torch.linspace(0.9999, 0.01, T).tolist())
        self.nothing = nn.Linear(1, 1)

    @property
    def network(self) -> nn.Module:
        """Nothing."""
        return self.nothing

    def encode(self, inputs: Tensor) -> Tensor:
        """In [−1, 1]."""
        return to_model_range(inputs)

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        """Return the states."""
        return x


def free_target() -> PreparedTarget:
    """See `Free`."""
    return PreparedTarget(Path(), "free", load=Free)
