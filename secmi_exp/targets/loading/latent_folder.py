"""A latent diffusion pipeline of diffusers on disk: autoencoder, denoiser and scheduler, and encoders of conditions.

Its parts are read one by one: the encoders when images and conditions are encoded, the denoiser when it is queried.
Nothing else of a pipeline, such as a safety checker, is read or executed. What is particular to a class of pipelines
stands in `secmi_exp.targets.families`, a subclass and a file each.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.diffusion.timesteps import TimeAxis, Timesteps
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import FileDigest, Key, file_digest
from secmi_exp.targets.labels import LabelChoice, LabelQuery
from secmi_exp.targets.loading.file_kind import refuse_file, refuse_strange_folder
from secmi_exp.targets.loading.json_fields import JsonObject, checked
from secmi_exp.targets.loading.model_file_schemas import NETWORKS, Autoencoder, PipelineIndex
from secmi_exp.targets.loading.model_folder import CONFIG, ModelFolder, content_digest, warn_of_choices
from secmi_exp.targets.loading.scheduler_path import path_of_scheduler, timesteps_of_scheduler
from secmi_exp.targets.loading.settings_files import read_json
from secmi_exp.targets.loading.training_folder import (
    PIPELINE_CONFIG,
    ChosenNetwork,
    WeightsChoice,
    choose_network,
    file_names,
)
from secmi_exp.targets.loading.weight_files import Library, with_variant
from secmi_exp.torch_on_use import Tensor

make_scheduler = Deferred("secmi_exp.targets.loading.schedulers:make_scheduler")

T = TypeVar("T", bound=JsonObject)

VERSION = 1
"""Version of the reading; raised when the same files would give other latents, embeddings or noise."""

SCHEDULER_CONFIG = "scheduler/scheduler_config.json"

Parts = Mapping[str, tuple[str, ...]]
"""Part of a pipeline → the classes that it may have."""

VAE: Parts = {"vae": ("AutoencoderKL",)}
UNET_AND_VAE: Parts = {**VAE, "unet": ("UNet2DConditionModel",)}


def library_of(part: str) -> Library:
    """Return the library of a part's class."""
    return "transformers" if part.startswith(("text_encoder", "tokenizer")) else "diffusers"


def has_weights(part: str) -> bool:
    """Whether a part is a network, rather than a tokenizer."""
    return not part.startswith("tokenizer")


def locate(path: Path, weights: WeightsChoice) -> tuple[Path, ChosenNetwork]:
    """Find the folder of a pipeline, and the network that is chosen in it; an empty choice is the pipeline's denoiser.

    Args:
        path: of a pipeline, or of a checkpoint of its training, one folder below the pipeline.
        weights: see `choose_network`.

    Raises:
        UserError: for a folder without a pipeline, and weights that aren't there.
    """
    refuse_file(path)
    path = path.absolute()
    chosen = choose_network(file_names(path), weights, str(path))
    pipeline = path
    if not (path / PIPELINE_CONFIG).is_file() and chosen.folder:
        pipeline, chosen = path.parent, chosen.below(path.name)
    if not (pipeline / PIPELINE_CONFIG).is_file():
        refuse_strange_folder(path)
        if chosen.folder:
            raise UserError(
                f"{path} holds a U-Net alone, and there is no {PIPELINE_CONFIG} there or one folder up: put it "
                "into a copy of the pipeline that its training started from, in place of the unet."
            )
        raise UserError(f"{path} holds no {PIPELINE_CONFIG}: set target.path to a diffusers pipeline.")
    return pipeline, chosen


def pipeline_kind(pipeline: Path) -> str:
    """Read the class of a pipeline."""
    file = pipeline / PIPELINE_CONFIG
    return checked(PipelineIndex, read_json(file), file).kind


@dataclass(frozen=True)
class LatentFolder(ABC):
    """Places and descriptions of a pipeline's parts; a family of pipelines is a subclass."""

    kinds: ClassVar[Mapping[str, Parts]]
    """Class of pipeline → its parts."""
    denoiser: ClassVar[str] = "unet"
    """Part that predicts."""
    coder: ClassVar[str] = "vae"
    """Part that encodes images."""

    path: Path
    """Folder of the pipeline."""
    kind: str
    """Class of the pipeline."""
    chosen: ChosenNetwork
    """Folder of the denoiser, relative to the pipeline."""
    variant: str | None = None
    """Variant of the weights; parts without it are read by default."""
    axis: TimeAxis = "ddpm"
    """What a timestep means on a continuous path."""

    @classmethod
    def from_path(
        cls, path: Path, weights: WeightsChoice = "auto", variant: str | None = None, axis: TimeAxis = "ddpm"
    ) -> Self:
        """Read the descriptions.

        Args:
            path: see `locate`.
            weights: see `choose_network`.
            variant: see `choose_weights`; the denoiser must have it.
            axis: see `TimeAxis`.

        Raises:
            UserError: for a folder without a pipeline, a pipeline of another kind, a part of another class, a denoiser
                that doesn't fit the other parts, and weights that aren't there or of which it isn't clear which are
                meant.
        """
        pipeline, chosen = locate(path, weights)
        kind = pipeline_kind(pipeline)
        if kind not in cls.kinds:
            raise UserError(f"The pipeline in {pipeline} is a {kind}: it must be one of {', '.join(cls.kinds)}.")
        folder = cls(pipeline, kind, chosen if chosen.folder else ChosenNetwork(cls.denoiser), variant, axis)
        folder.refuse_other_parts(read_json(pipeline / PIPELINE_CONFIG))
        folder.refuse_other_denoisers()
        return folder

    @property
    def embeds_guidance(self) -> bool:
        """Whether the denoiser gets the guidance as an input, as ``guidance`` [B], in place of a second evaluation."""
        return False

    @abstractmethod
    def evaluate(self, network: Any, x: Tensor, times: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Evaluate the denoiser, all in its precision.

        Args:
            network: the denoiser.
            x: noised latents, [B, C, h, w].
            times: what `GaussianPath.model_time` gives, [B].
            condition: embeddings of prompts, or ``label``; name → [B, …].

        Returns:
            What the scheduler says that it predicts, [B, C, h, w].
        """

    def label_query(self, choice: LabelChoice, guidance: float) -> LabelQuery | None:
        """Return how images get the class that the denoiser is queried with; None for one that takes none."""
        return None

    def posterior(self, vae: Any, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents of images in [−1, 1], [B, C, h, w] both."""
        posterior = vae.encode(images).latent_dist
        return posterior.mean, posterior.std

    @property
    def parts(self) -> Parts:
        """Part → the classes that it may have."""
        return self.kinds[self.kind]

    def warn_of_choices(self) -> None:
        """Warn of what was chosen without the user's word."""
        self.chosen.warn(self.path)
        warn_of_choices(self.path, [self.model(part) for part in self.parts if has_weights(part)])

    def model(self, part: str) -> ModelFolder:
        """Return the folder of a part that has weights."""
        if part == self.denoiser:
            return ModelFolder(self.path / self.chosen.folder, "diffusers", self.variant)
        folder = self.path / part
        names = [file.name for file in folder.glob("*")]
        return ModelFolder(folder, library_of(part), with_variant(names, library_of(part), self.variant))

    def key(
        self, kind: str, *parts: str, reading: Mapping[str, Json] | None = None, digest: FileDigest = file_digest
    ) -> Key:
        """Return the key of what these parts compute.

        Args:
            kind: kind of the result.
            parts: names of the parts, ``scheduler`` among them.
            reading: settings that aren't in the folder.
            digest: of a file.
        """
        files: list[Path] = []
        for part in parts:
            is_network = part in self.parts and has_weights(part)
            files += self.model(part).files if is_network else sorted((self.path / part).iterdir())
        digests = {
            Path(os.path.relpath(file, self.path)).as_posix(): content_digest(file, digest)
            for file in files
            if file.is_file()
        }
        return Key(kind, VERSION, {"pipeline": self.kind, **(reading or {})}, digests)

    @cached_property
    def diffusion_path(self) -> GaussianPath:
        """The scheduler's path.

        The state at timestep 0 has ᾱ_0, as in the authors' code, whatever ``set_alpha_to_one`` is: that concerns the
        step from timestep 0 to the image, which no trajectory takes.
        """
        return path_of_scheduler(read_json(self.path / SCHEDULER_CONFIG), self.path / SCHEDULER_CONFIG, self.axis)

    @property
    def timesteps(self) -> Timesteps:
        """Timesteps of the scheduler's path."""
        file = self.path / SCHEDULER_CONFIG
        return timesteps_of_scheduler(read_json(file), file, self.axis)

    def scheduler(self, kind: str, **changes: Json) -> Any:
        """Make a scheduler of another class with the same schedule.

        Args:
            kind: class of diffusers.
            **changes: settings with other values.

        Raises:
            UserError: where diffusers refuses the settings for this class.
        """
        file = self.path / SCHEDULER_CONFIG
        return make_scheduler(read_json(file), file, kind, **changes)

    def description(self, part: str, schema: type[T]) -> T:
        """Read the description of a part that has weights."""
        file = self.model(part).path / CONFIG
        return checked(schema, read_json(file), file)

    @property
    def autoencoder(self) -> Autoencoder:
        """Description of the autoencoder."""
        return self.description(self.coder, Autoencoder)

    @property
    def scaling(self) -> tuple[list[float], list[float]]:
        """Shift and scale in x_0 = (z − shift) · scale for each latent channel, from the autoencoder's description."""
        vae = self.autoencoder
        factor = vae.scaling_factor or 1.0
        if vae.latents_mean and vae.latents_std:
            return list(vae.latents_mean), [factor / std for std in vae.latents_std]
        return [vae.shift_factor or 0.0] * vae.encoded_channels, [factor] * vae.encoded_channels

    @property
    def assumed_scaling(self) -> dict[str, Json]:
        """The scaling where diffusers' default is assumed, for keys; otherwise the description, a file, holds it."""
        described = "scaling_factor" in read_json(self.path / self.coder / CONFIG)
        return {} if described else {"scaling": self.scaling}

    @cached_property
    def pixels_per_latent(self) -> int:
        """Side of the square of pixels that one latent stands for."""
        return int(2 ** (len(self.autoencoder.block_out_channels) - 1))

    @property
    def patch_size(self) -> int:
        """Side of the square of latents that the denoiser takes as one."""
        size: int = getattr(self._described, "patch_size", 1)
        return size

    @property
    def pixels_per_patch(self) -> int:
        """Side of the square of pixels that the denoiser takes as one: images' sides must be multiples."""
        return self.pixels_per_latent * self.patch_size

    @property
    def most_pixels(self) -> int | None:
        """Upper bound of the images' sides, where the denoiser has a table of places; None: it has none."""
        places: int | None = getattr(self._described, "pos_embed_max_size", None)
        return places and places * self.pixels_per_patch

    @property
    def _described(self) -> JsonObject:
        return self.description(self.denoiser, NETWORKS.get(self.parts[self.denoiser][0], JsonObject))

    def load_denoiser(self) -> Any:
        """Load the network that predicts; see `ModelFolder.load`."""
        return self.model(self.denoiser).load(self.parts[self.denoiser][0])

    def vae(self) -> Any:
        """Load the autoencoder; see `ModelFolder.load`."""
        return self.model(self.coder).load(self.parts[self.coder][0])

    def refuse_other_images(self, images: Images) -> None:
        """Compare the shape of images that the autoencoder takes with the dataset's.

        Raises:
            UserError: with both shapes.
        """
        channels, height, width = images.shape
        taken, unit = self.autoencoder.in_channels, self.pixels_per_patch
        given = f"the dataset's images have {channels} channels and {height}×{width} pixels"
        if channels != taken:
            raise UserError(
                f"The autoencoder in {self.path} takes images of {taken} channels, and {given}: set dataset.channels."
            )
        if height % unit or width % unit:
            raise UserError(
                f"The pipeline in {self.path} takes {unit}×{unit} pixels as one, and {given}: set dataset.image_size "
                f"to a multiple of {unit}."
            )
        if self.most_pixels and max(height, width) > self.most_pixels:
            raise UserError(
                f"The pipeline in {self.path} takes at most {self.most_pixels} pixels a side, and {given}: set "
                "dataset.image_size."
            )

    def refuse_other_parts(self, index: Mapping[str, Any]) -> None:
        """Refuse a pipeline whose parts are not those of its kind.

        Args:
            index: content of ``model_index.json``.

        Raises:
            UserError: naming the part.
        """
        for part, classes in self.parts.items():
            declared = index.get(part)
            name = declared[1] if isinstance(declared, list) and len(declared) == 2 else None
            if name not in classes:
                raise UserError(
                    f"The {part} of the {self.kind} in {self.path} is a {name}: it must be a {' or '.join(classes)}."
                )
            if not (self.path / (self.chosen.folder if part == self.denoiser else part)).is_dir():
                raise UserError(f"The {self.kind} in {self.path} has no folder {part}: is it complete?")

    @abstractmethod
    def refuse_other_denoisers(self) -> None:
        """Refuse a denoiser that takes or gives something else than the autoencoder's latents, or needs more.

        Raises:
            UserError: naming what.
        """

    def refuse_other_channels(self, taken: int, given: int, factors: tuple[int, ...] = (1,), packed: int = 1) -> None:
        """Compare a denoiser's channels with the autoencoder's.

        Args:
            taken: number of channels that the denoiser takes.
            given: number that it gives.
            factors: how many times as many it may give, where it predicts the variance too.
            packed: number of latents whose channels it takes together.

        Raises:
            UserError: with the numbers of channels.
        """
        channels = packed * self.autoencoder.encoded_channels
        if taken != channels or given not in [factor * channels for factor in factors]:
            raise UserError(
                f"The {self.denoiser} in {self.path} takes {taken} channels and gives {given}, where the autoencoder "
                f"makes {channels}: a pipeline for inpainting or upscaling can't be attacked."
            )

    def refuse_unusable_parts(self) -> None:
        """Compare the networks with their weights, and evaluate each once; before anything is encoded.

        Raises:
            UserError: see `ModelFolder.refuse_unusable` and `path_of_scheduler`.
        """
        _ = self.diffusion_path
        for part, (kind, *_) in self.parts.items():
            if has_weights(part):
                self.model(part).refuse_unusable(kind)
