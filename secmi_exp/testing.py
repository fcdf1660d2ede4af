"""What tests of attacks, targets, datasets and defenses need: small targets, a CPU runtime, and composed components.

Importing this module makes ``target=memorizing`` a choice of the configuration, within this process.
"""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from PIL import Image
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.configuration.components import component
from secmi_exp.configuration.folders import CONF
from secmi_exp.data.images import Images
from secmi_exp.data.model_range import to_model_range
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor
from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.store import Store
from secmi_exp.targets.interface import InputSpace, PreparedTarget, Target

run_pipeline: Callable[[DictConfig, Path], object] = Deferred("secmi_exp.pipeline:run")

SMALL_ALPHAS: list[float] = torch.linspace(0.999, 0.05, 300, dtype=torch.float64).tolist()
"""ᾱ_0 … ᾱ_299 of `SmallPredictor`."""

MEMORIZING_ALPHAS: list[float] = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).tolist()
"""ᾱ_0 … ᾱ_999 of `MemorizingPredictor`: the schedule of DDPM."""


def compose_config(*overrides: str) -> DictConfig:
    """Compose the configuration as the command line does, without the command's own checks of the arguments.

    The same overrides are composed once a process: later changes of the files have no effect.
    """
    return deepcopy(_composed(overrides))


@cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def configured(group: str, *overrides: str) -> Any:
    """Make the component of a group, for example ``configured("attack", "+attack=pia", "attack.t=50")``.

    Configurations of one's own are found with the override ``hydra.searchpath=[file:///path/of/DIR]``.

    Raises:
        UserError: for a value that the component refuses.
    """
    return component(compose_config(*overrides), group)


def cpu_runtime(**settings: Any) -> Runtime:
    """Describe a run on one CPU in float32, with the settings of ``conf/trainer/auto.yaml`` that differ."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu", "devices": 1, "nodes": 1, "precision": "32", "query_precision": "32",
        "approach_precision": settings.get("query_precision", "32"), "query_batch_size": 4, "device_batch_size": None,
        "compile": False, "progress_bar": False,
    }  # fmt: skip
    return Runtime(**defaults | settings)


def no_logger() -> None:
    """Give no place to training metrics: a `MakeLogger`."""


def random_images(count: int = 7, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> Images:
    """Draw images of uniform noise; ``shape`` is (C, H, W)."""
    return Images.from_pixels(np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8))


def image_folders(root: Path, count: int = 12, shape: tuple[int, int] = (8, 8)) -> list[str]:
    """Write PNG files of noise into ``root/members`` and ``root/holdout``; returns the overrides that name them."""
    for name, seed in (("members", 1), ("holdout", 2)):
        (root / name).mkdir()
        pixels = np.random.default_rng(seed).integers(0, 256, (count, *shape, 3), dtype=np.uint8)
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(root / name / f"{i}.png")
    folders = [f"dataset.members={root}/members", f"dataset.holdout={root}/holdout"]
    return ["dataset=image_folder", f"dataset.image_size={min(shape)}", "split.attack_train=0.5", *folders]


def numbered_noise(seed: int, j: int, shape: tuple[int, ...]) -> Tensor:
    """Draw noise number j of an attack's seed, which is the same for all images. [*shape], float64."""
    return torch.from_numpy(np.random.default_rng([seed, j]).standard_normal(shape, dtype=np.float32)).double()


class SmallNetwork(nn.Module):
    """Two convolutions, with sin t added between them; the weights are the same each time."""

    def __init__(self, channels: int = 1):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.first, self.second = nn.Conv2d(channels, 3, 3, padding=1), nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, x: Tensor, t: float) -> Tensor:
        """Predict the noise in x [B, C, H, W] at timestep t."""
        output: Tensor = self.second(torch.tanh(self.first(x) + math.sin(t)))
        return output


SMALL_X_0 = to_model_range(torch.from_numpy(random_images()[:])).double()
"""The images that `measure` attacks by default, in [−1, 1]. [7, 1, 8, 8], float64."""


class SmallPredictor(NoisePredictor):
    """A target with random weights: ε(x_t, t) is the output of `SmallNetwork`, ᾱ is `SMALL_ALPHAS`."""

    def __init__(self, channels: int = 1):
        super().__init__()
        self.inner = SmallNetwork(channels)
        self.path = GaussianPath.from_alphas_cumprod(SMALL_ALPHAS)

    @property
    def network(self) -> nn.Module:
        """The two convolutions."""
        return self.inner

    def encode(self, inputs: Tensor) -> Tensor:
        """Pixels in [−1, 1]."""
        return to_model_range(inputs).to(torch.promote_types(self.inner.first.weight.dtype, torch.float32))

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        """Evaluate the two convolutions."""
        output: Tensor = self.inner(x.to(self.inner.first.weight.dtype), time)
        return output.to(x.dtype)


def small_target(channels: int = 1) -> PreparedTarget:
    """Give the `SmallPredictor` as a target that is ready to be attacked."""
    return PreparedTarget(Path(), f"small {channels}", partial(SmallPredictor, channels))


class MemorizingPredictor(NoisePredictor):
    """The best denoiser of its training images alone: ε(x_t) = (x_t − √ᾱ_t E[x_0 | x_t]) / √(1−ᾱ_t).

    x_0 is uniform over the training images, so that samples are copies of them, and ᾱ is `MEMORIZING_ALPHAS`.

    Args:
        pixels: the training images, uint8 [N, C, H, W].
    """

    def __init__(self, pixels: np.ndarray):
        super().__init__()
        self.path = GaussianPath.from_alphas_cumprod(MEMORIZING_ALPHAS)
        self.learnt = nn.Parameter(to_model_range(torch.from_numpy(pixels)).flatten(1))

    @property
    def network(self) -> nn.Module:
        """The predictor itself."""
        return self

    def encode(self, inputs: Tensor) -> Tensor:
        """Pixels in [−1, 1]."""
        return to_model_range(inputs).to(torch.promote_types(self.learnt.dtype, torch.float32))

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        """Predict the noise by the formula."""
        alpha_bar, learnt, flat = MEMORIZING_ALPHAS[int(time)], self.learnt.double(), x.double().flatten(1)
        squares = torch.cdist(flat, alpha_bar**0.5 * learnt).square()
        x_0 = torch.softmax(-squares / (2 * (1 - alpha_bar)), dim=1) @ learnt
        noise: Tensor = (flat - alpha_bar**0.5 * x_0) / (1 - alpha_bar) ** 0.5
        return noise.reshape(x.shape).to(x.dtype)


@dataclass(frozen=True)
class MemorizingTarget:
    """A target that has learnt its members by heart, without training: ``target=memorizing``."""

    conditions: ClassVar[tuple[str, ...]] = ()
    input_space: ClassVar[InputSpace] = "pixels"
    trained_here: ClassVar[bool] = False

    name: str = "memorizing"

    @property
    def timesteps(self) -> Timesteps:
        """The 1,000 timesteps of its schedule."""
        return Timesteps.with_signal_everywhere(len(MEMORIZING_ALPHAS))

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Give a `MemorizingPredictor` of the members."""
        load = partial(MemorizingPredictor, members[:])
        return PreparedTarget(store.root, f"memorizing {members.digest}", load, trained_on=members.digest)


ConfigStore.instance().store(
    group="target", name="memorizing", node={"_target_": f"{__name__}.MemorizingTarget", "name": "memorizing"}
)


def prepare(target: Target, folder: Path, channels: int, height: int, width: int) -> PreparedTarget:
    """Prepare a target on two random images of this shape, with a store in this folder."""
    images = random_images(2, (channels, height, width))
    return target.prepare(images, Store(folder), cpu_runtime(), no_logger)


def measure(
    attack: Attack,
    folder: Path,
    *,
    images: Images | None = None,
    target: PreparedTarget | None = None,
    runtime: Runtime | None = None,
) -> Measurements:
    """Make an attack's queries, as a run does.

    Args:
        attack: an attack made by `configured`.
        folder: of the store; what it has is not asked for again.
        images: images to attack; by default `random_images`.
        target: target to query; by default `small_target`.
        runtime: by default the CPU in float64, which agrees with a formula to about ten digits.
    """
    store = Store(folder)
    measured = attack.measure(
        target or small_target(), images or random_images(), store, runtime or cpu_runtime(query_precision="64")
    )
    store.delete_tallies()
    return measured


def run(folder: Path, *overrides: str) -> Path:
    """Carry out a run within this process, on the CPU and without a logger.

    Args:
        folder: of the store and the outputs.
        overrides: overrides in the command line's format.

    Returns:
        The run's own folder, with results.json and scores.parquet.
    """
    config = compose_config("trainer=cpu", "logger=none", f"paths.output={folder}", *overrides)
    output = folder / "runs" / str(time.monotonic_ns())
    output.mkdir(parents=True)
    run_pipeline(config, output)
    return output
