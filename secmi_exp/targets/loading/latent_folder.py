"""A latent diffusion pipeline of diffusers on disk: autoencoder, U-Net and scheduler, and encoders of conditions.

Its parts are read one by one: the encoders when images and conditions are encoded, the U-Net when it is queried.
Nothing else of a pipeline, such as a safety checker, is read or executed.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.store import Json, Key
from secmi_exp.targets.loading.file_kind import refuse_file, refuse_strange_folder
from secmi_exp.targets.loading.json_fields import JsonObject, checked
from secmi_exp.targets.loading.model_file_schemas import Autoencoder, PipelineIndex, UNet2DCondition
from secmi_exp.targets.loading.model_folder import CONFIG, ModelFolder, content_digest, warn_of_choices
from secmi_exp.targets.loading.settings_files import read_json
from secmi_exp.targets.loading.training_folder import (
    PIPELINE_CONFIG,
    ChosenNetwork,
    WeightsChoice,
    choose_network,
    file_names,
)
from secmi_exp.targets.loading.weight_files import Library, with_variant
from secmi_exp.targets.schedule import Schedule

make_scheduler = Deferred("secmi_exp.targets.loading.schedulers:make_scheduler")

T = TypeVar("T", bound=JsonObject)

VERSION = 1
"""Version of the reading; raised when the same files would give other latents, embeddings or noise."""

SCHEDULER_CONFIG = "scheduler/scheduler_config.json"

NETWORKS = {"vae": ("AutoencoderKL",), "unet": ("UNet2DConditionModel",)}
"""Parts of every latent pipeline → the classes that they may have."""


def library_of(part: str) -> Library:
    """Return the library of a part's class."""
    return "diffusers" if part in NETWORKS else "transformers"


def has_weights(part: str) -> bool:
    """Whether a part is a network, rather than a tokenizer."""
    return not part.startswith("tokenizer")


@dataclass(frozen=True)
class LatentFolder:
    """Places and descriptions of a pipeline's parts."""

    kinds: ClassVar[Mapping[str, Mapping[str, tuple[str, ...]]]]
    """Pipeline → part → the classes that it may have."""

    path: Path
    """Folder of the pipeline."""
    kind: str
    """Class of the pipeline."""
    chosen: ChosenNetwork
    """Folder of the U-Net, relative to the pipeline."""
    variant: str | None = None
    """Variant of the weights; parts without it are read by default."""

    @classmethod
    def from_path(cls, path: Path, weights: WeightsChoice = "auto", variant: str | None = None) -> Self:
        """Read the descriptions.

        Args:
            path: of a pipeline, or of a checkpoint of its training, one folder below the pipeline.
            weights: see `choose_network`.
            variant: see `choose_weights`; the U-Net must have it.

        Raises:
            UserError: for a folder without a pipeline, a pipeline of another kind, a part of another class, a U-Net
                that doesn't fit the other parts, and weights that aren't there or of which it isn't clear which are
                meant.
        """
        refuse_file(path)
        path = path.absolute()
        chosen = choose_network(file_names(path), weights, str(path))
        pipeline = path
        if (path / PIPELINE_CONFIG).is_file():
            chosen = chosen if chosen.folder else ChosenNetwork("unet")
        elif chosen.folder:
            pipeline, chosen = path.parent, chosen.below(path.name)
        if not (pipeline / PIPELINE_CONFIG).is_file():
            refuse_strange_folder(path)
            if chosen.folder:
                raise UserError(
                    f"{path} holds a U-Net alone, and there is no {PIPELINE_CONFIG} there or one folder up: put it "
                    "into a copy of the pipeline that its training started from, in place of the unet."
                )
            raise UserError(f"{path} holds no {PIPELINE_CONFIG}: set target.path to a diffusers pipeline.")
        index = read_json(pipeline / PIPELINE_CONFIG)
        kind = checked(PipelineIndex, index, pipeline / PIPELINE_CONFIG).kind
        if kind not in cls.kinds:
            raise UserError(f"The pipeline in {pipeline} is a {kind}: it must be one of {', '.join(cls.kinds)}.")
        folder = cls(pipeline, kind, chosen, variant)
        folder.refuse_other_parts(index)
        folder.refuse_other_unets()
        return folder

    @property
    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """Part → the classes that it may have."""
        return self.kinds[self.kind]

    def warn_of_choices(self) -> None:
        """Warn of what was chosen without the user's word."""
        self.chosen.warn(self.path)
        warn_of_choices(self.path, [self.model(part) for part in self.parts if has_weights(part)])

    def model(self, part: str) -> ModelFolder:
        """Return the folder of a part that has weights."""
        if part == "unet":
            return ModelFolder(self.path / self.chosen.folder, "diffusers", self.variant)
        folder = self.path / part
        names = [file.name for file in folder.glob("*")]
        return ModelFolder(folder, library_of(part), with_variant(names, library_of(part), self.variant))

    def key(self, kind: str, *parts: str, reading: Mapping[str, Json] | None = None) -> Key:
        """Return the key of what these parts compute.

        Args:
            kind: kind of the result.
            parts: names of the parts, ``scheduler`` among them.
            reading: settings that aren't in the folder.
        """
        files: list[Path] = []
        for part in parts:
            is_network = part in self.parts and has_weights(part)
            files += self.model(part).files if is_network else sorted((self.path / part).iterdir())
        digests = {
            Path(os.path.relpath(file, self.path)).as_posix(): content_digest(file) for file in files if file.is_file()
        }
        return Key(kind, VERSION, {"pipeline": self.kind, **(reading or {})}, digests)

    @cached_property
    def schedule(self) -> Schedule:
        """The scheduler's ᾱ and prediction.

        The state at timestep 0 has ᾱ_0, as in the authors' code, whatever ``set_alpha_to_one`` is: that concerns the
        step from timestep 0 to the image, which no trajectory takes.
        """
        return Schedule.from_config(read_json(self.path / SCHEDULER_CONFIG), self.path / SCHEDULER_CONFIG)

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
        return self.description("vae", Autoencoder)

    @property
    def denoiser(self) -> UNet2DCondition:
        """Description of the U-Net."""
        return self.description("unet", UNet2DCondition)

    @property
    def scaling(self) -> tuple[list[float], list[float]]:
        """Shift and scale in x_0 = (z − shift) · scale for each latent channel, from the autoencoder's description."""
        vae = self.autoencoder
        factor = vae.scaling_factor or 1.0
        if vae.latents_mean and vae.latents_std:
            return list(vae.latents_mean), [factor / std for std in vae.latents_std]
        return [vae.shift_factor or 0.0] * vae.latent_channels, [factor] * vae.latent_channels

    @property
    def assumed_scaling(self) -> dict[str, Json]:
        """The scaling where diffusers' default is assumed, for keys; otherwise the description, a file, holds it."""
        described = "scaling_factor" in read_json(self.path / "vae" / CONFIG)
        return {} if described else {"scaling": self.scaling}

    @property
    def pixels_per_latent(self) -> int:
        """Side of the square of pixels that one latent stands for."""
        return int(2 ** (len(self.autoencoder.block_out_channels) - 1))

    def unet(self) -> Any:
        """Load the network that predicts the noise; see `ModelFolder.load`."""
        return self.model("unet").load("UNet2DConditionModel")

    def vae(self) -> Any:
        """Load the autoencoder; see `ModelFolder.load`."""
        return self.model("vae").load("AutoencoderKL")

    def refuse_other_images(self, images: Images) -> None:
        """Compare the shape of images that the autoencoder takes with the dataset's.

        Raises:
            UserError: with both shapes.
        """
        channels, height, width = images.shape
        taken, unit = self.autoencoder.in_channels, self.pixels_per_latent
        given = f"the dataset's images have {channels} channels and {height}×{width} pixels"
        if channels != taken:
            raise UserError(
                f"The autoencoder in {self.path} takes images of {taken} channels, and {given}: set dataset.channels."
            )
        if height % unit or width % unit:
            raise UserError(
                f"The autoencoder in {self.path} makes one latent of {unit}×{unit} pixels, and {given}: set "
                f"dataset.image_size to a multiple of {unit}."
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
            if not (self.path / (self.chosen.folder if part == "unet" else part)).is_dir():
                raise UserError(f"The {self.kind} in {self.path} has no folder {part}: is it complete?")

    def refuse_other_unets(self) -> None:
        """Refuse a U-Net that takes or gives something else than the autoencoder's latents.

        Raises:
            UserError: with both numbers of channels.
        """
        unet, channels = self.denoiser, self.autoencoder.latent_channels
        if unet.in_channels != channels or unet.out_channels != channels:
            raise UserError(
                f"The U-Net in {self.path} takes {unet.in_channels} channels and gives {unet.out_channels}, where the "
                f"autoencoder makes {channels}: a pipeline for inpainting or upscaling can't be attacked."
            )

    def refuse_unusable_parts(self) -> None:
        """Compare the networks with their weights, and evaluate each once; before anything is encoded.

        Raises:
            UserError: see `ModelFolder.refuse_unusable` and `Schedule.from_config`.
        """
        _ = self.schedule
        for part, (kind, *_) in self.parts.items():
            if has_weights(part):
                self.model(part).refuse_unusable(kind)
