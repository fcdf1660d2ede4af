"""The interface of targets: what a component of ``conf/target`` must offer, and what it prepares."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

from secmi_exp.data.images import Images
from secmi_exp.data.stored_rows import RowArray
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.noise_predictor_type import NoisePredictor
from secmi_exp.diffusion.timesteps import TimeAxis, Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Input, Key, Store, digest_of

load_kept = Deferred("secmi_exp.engine.kept_target:load_kept")

PIXEL_PIPELINE_FILES = (
    "model_index.json",
    "unet/config.json",
    "unet/*.safetensors",
    "scheduler/scheduler_config.json",
)
"""Files of an unconditional target in the store."""


@dataclass(frozen=True)
class InputArrays:
    """The arrays with which a target is queried, a row for each of n images; can be pickled."""

    x_0: RowArray
    """Input of `NoisePredictor.encode`, [n, …]."""
    condition: Mapping[str, RowArray] = field(default_factory=dict)
    """Conditions of a prediction, name → [n, …]."""


class Inputs(Protocol):
    """Images and conditions as a target is queried with them; computed, or found in the store."""

    @property
    def key(self) -> Input:
        """Key of all that decides the arrays, for the keys of what is computed from them; known before the arrays."""

    def arrays(self) -> InputArrays:
        """Return the arrays: compute them, or find them in the store."""

    def texts(self) -> dict[str, Sequence[str]]:
        """Return the conditions that are texts: kind, such as prompts → a text for each image, [n]."""

    def facts(self) -> dict[str, Json]:
        """Return what a reader of the results has to know of the inputs."""


@dataclass(frozen=True)
class PixelInputs:
    """Inputs of pixel models: the images as they are."""

    images: Images

    @property
    def key(self) -> Input:
        """See `Inputs.key`: the digest of the images."""
        return self.images.digest

    def arrays(self) -> InputArrays:
        """See `Inputs.arrays`: the images."""
        return InputArrays(self.images)

    def texts(self) -> dict[str, Sequence[str]]:
        """See `Inputs.texts`: there are none."""
        return {}

    def facts(self) -> dict[str, Json]:
        """See `Inputs.facts`: there are none."""
        return {}


def pixels(images: Images, store: Store, runtime: Runtime) -> Inputs:
    """Return the inputs of a pixel model."""
    return PixelInputs(images)


MakeInputs = Callable[[Images, Store, Runtime], Inputs]


@dataclass(frozen=True)
class PreparedTarget:
    """A target that is ready to be attacked."""

    folder: Path
    """Folder of its weights, a diffusers pipeline."""
    key: Input
    """Key of what decides its predictions, for the keys of what is computed with it."""
    load: Callable[[], NoisePredictor]
    """Loads the weights; can be pickled."""
    trained_on: str | None = None
    """Digest of the images that it was trained on, where it is known."""
    trained_now: bool = False
    """Whether it was trained just now, rather than found."""
    samples: Path | None = None
    """File with images that it generated, where there is one."""
    inputs: MakeInputs = pixels
    """Makes the inputs of images; see `Inputs`."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """Facts of its training that a reader of the results has to know."""

    @property
    def digest(self) -> str:
        """Digest of its key."""
        return digest_of(self.key)

    def kept(self) -> Self:
        """Return the same target, whose weights stay in memory for whoever loads it next; see `load_kept`."""
        if isinstance(self.load, partial) and self.load.func == load_kept:
            return self
        return replace(self, load=partial(load_kept, self.load, self.digest))


def queried(key: Key, axis: TimeAxis, guidance: float = 1.0) -> Key:
    """Return the key of a network's predictions; with the defaults, that of the network itself.

    Args:
        key: of the network.
        axis: what a timestep means.
        guidance: w of classifier-free guidance.
    """
    config: dict[str, Json] = {"axis": axis, "guidance": guidance}
    return key if (axis, guidance) == ("ddpm", 1.0) else Key("queried", 1, config, {"target": key})


InputSpace = Literal["pixels", "labelled pixels", "latents"]
"""What a target is queried about: images, images with a class each, or latents."""


class Target(Protocol):
    """A component of ``conf/target``."""

    @property
    def name(self) -> str:
        """Name of the target in the configuration."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of what queries take of the dataset besides the images: captions, labels."""

    @property
    def input_space(self) -> InputSpace:
        """What it is queried about, which not all attacks can do with."""

    @property
    def trained_here(self) -> bool:
        """Whether `prepare` trains it on the members, or finds in the store what it has trained on them before."""

    @property
    def timesteps(self) -> Timesteps:
        """Timesteps of its schedule, with which the settings of attacks are compared before anything is computed."""

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Train the target on the members, find it in the store, or read what was trained elsewhere.

        Args:
            members: the training images; the target sees no others.
            store: where the weights are kept.
            runtime: the machine.
            make_logger: makes the logger of training metrics, if something is trained.
        """


@runtime_checkable
class SupportsDryRun(Protocol):
    """A target whose networks or optimizers settings describe, which can be tried before anything is computed."""

    def dry_run(self, images: tuple[int, int, int], store: Store, runtime: Runtime) -> None:
        """Try networks and optimizers without memory for them, unless a training in the store had the same settings.

        Args:
            images: (C, H, W) of the images.
            store: of results.
            runtime: the machine.

        Raises:
            UserError: naming the setting with which they can't be made.
        """
