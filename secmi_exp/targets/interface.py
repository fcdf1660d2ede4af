"""What a config must offer to make a target, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.store import Input, Json, Store, digest_of

if TYPE_CHECKING:
    from secmi_exp.diffusion.noise_predictor import NoisePredictor
    from secmi_exp.engine.batches import Array

PIXEL_PIPELINE_FILES = (
    "model_index.json",
    "unet/config.json",
    "unet/*.safetensors",
    "scheduler/scheduler_config.json",
)
"""That an unconditional target has which is kept in the store."""


@dataclass(frozen=True)
class InputArrays:
    """What a target is given for each of n images; can be pickled."""

    x_0: Array
    """What `NoisePredictor.encode` takes, [n, …]."""
    condition: Mapping[str, Array] = field(default_factory=dict)
    """What a prediction depends on besides, name → [n, …]."""


class Inputs(Protocol):
    """What a target makes of images before it is queried."""

    @property
    def key(self) -> Input:
        """Of all that decides them, for the keys of what is computed from them; known before they are."""

    def arrays(self) -> InputArrays:
        """Computes them, or finds them in the store."""

    def texts(self) -> dict[str, Sequence[str]]:
        """What a query depends on besides the images, in words: kind, such as prompts → one for each image, [n]."""

    def facts(self) -> dict[str, Json]:
        """What a reader of the results has to know of them."""


@dataclass(frozen=True)
class Pixels:
    """Images as they are, which pixel models take."""

    images: Images

    @property
    def key(self) -> Input:
        """The digest of the images."""
        return self.images.digest

    def arrays(self) -> InputArrays:
        """The images."""
        return InputArrays(self.images)

    def texts(self) -> dict[str, Sequence[str]]:
        """Nothing."""
        return {}

    def facts(self) -> dict[str, Json]:
        """There is nothing to tell."""
        return {}


def pixels(images: Images, store: Store, runtime: Runtime) -> Inputs:
    """See `Pixels`."""
    return Pixels(images)


@dataclass(frozen=True)
class PreparedTarget:
    """A target that is ready to be attacked."""

    folder: Path
    """Its weights, as a diffusers pipeline."""
    key: Input
    """What it is, for the keys of what is computed with it."""
    load: Callable[[], NoisePredictor]
    """Reads the weights; can be pickled."""
    trained_on: str | None = None
    """Digest of the images that it was trained on, where that is known."""
    trained_now: bool = False
    """Whether it was trained to prepare it, rather than found."""
    samples: Path | None = None
    """A picture of images that it generated, where there is one."""
    inputs: Callable[[Images, Store, Runtime], Inputs] = pixels
    """What it makes of images before it is queried."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """What a reader of the results has to know of its training."""

    @property
    def digest(self) -> str:
        """Of its key."""
        return digest_of(self.key)


class Target(Protocol):
    """What a file in ``conf/target`` names."""

    @property
    def name(self) -> str:
        """As the configuration names it."""

    @property
    def uses_captions(self) -> bool:
        """Whether it is queried with the images' own captions."""

    @property
    def timesteps(self) -> Timesteps:
        """Those of its schedule, which attacks and samples are compared with before anything is computed."""

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Train it on the members, find that it was trained before, or read what was trained elsewhere.

        Args:
            members: the training images; the target sees no others.
            store: where the weights are kept.
            runtime: the machine.
            make_logger: gives the place where training metrics go, if something is trained.
        """


@runtime_checkable
class TrainedHere(Protocol):
    """A target whose networks are made here, and can be tried before anything is computed."""

    def try_out(self, images: tuple[int, int, int], store: Store, runtime: Runtime) -> None:
        """Try networks and optimizers without memory for them, unless a training in the store has made the same.

        Args:
            images: (C, H, W) of the images.
            store: of results.
            runtime: the machine.

        Raises:
            UserError: naming the setting that they can't be made from.
        """
