"""A text-to-image pipeline of diffusers on disk: Stable Diffusion 1.x, 2.x and XL, and whatever has their parts.

Its parts are read one by one: the autoencoder and the text encoders where images and prompts are encoded, the U-Net
where it is queried. Nothing else of a pipeline, such as a safety checker, is read or executed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.store import Json, Key
from secmi_exp.targets.loading.file_kind import refuse_file, refuse_strange_files, refuse_strange_folder
from secmi_exp.targets.loading.json_fields import Settings, checked
from secmi_exp.targets.loading.model_file_schemas import (
    Autoencoder,
    PipelineIndex,
    Scheduler,
    TextEncoder,
    Tokenizer,
    UNet2DCondition,
)
from secmi_exp.targets.loading.model_folder import CONFIG, ModelFolder, content_digest, warn_of_choices
from secmi_exp.targets.loading.training_folder import (
    PIPELINE_CONFIG,
    ChosenNetwork,
    WeightsChoice,
    choose_network,
    file_names,
)
from secmi_exp.targets.loading.weight_files import with_variant
from secmi_exp.targets.loading.weights import read_json, reason, unreadable
from secmi_exp.targets.schedule import Schedule
from secmi_exp.targets.text_to_image.pipeline_parts import KINDS, NETWORKS, SCHEDULER_CONFIG, WEIGHTED, library_of

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTokenizer

T = TypeVar("T", bound=Settings)

VERSION = 1
"""Of how a pipeline is read; raised when the same files would give other latents, embeddings or noise."""

TEXT_CONDITIONS = ("text", "text_time")
"""Kinds of added condition that are understood; the second is SDXL's."""


@dataclass(frozen=True)
class TextToImageFolder:
    """Where the parts lie, and how they describe themselves."""

    path: Path
    """Of the pipeline."""
    kind: str
    """Class of the pipeline."""
    chosen: ChosenNetwork
    """Of the U-Net, relative to the pipeline."""
    variant: str | None = None
    """Of the weights; parts that have none of it are read by default."""

    @classmethod
    def of(cls, path: Path, weights: WeightsChoice = "auto", variant: str | None = None) -> TextToImageFolder:
        """Read the descriptions.

        Args:
            path: of a pipeline, or of a checkpoint of its training, one folder below the pipeline.
            weights: see `choose_network`.
            variant: see `choose_weights`; the U-Net must have it.

        Raises:
            UserError: for a folder without a pipeline, a pipeline of another kind, a part of another class, a U-Net
                that needs more than a text, and weights that aren't there or of which it isn't clear which are meant.
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
        if kind not in KINDS:
            raise UserError(f"The pipeline in {pipeline} is a {kind}: it must be one of {', '.join(KINDS)}.")
        folder = cls(pipeline, kind, chosen, variant)
        refuse_other_parts(index, folder)
        refuse_other_unets(folder)
        return folder

    def warn_of_choices(self) -> None:
        """Tell what was taken where there was a choice that the user hasn't made."""
        self.chosen.warn(self.path)
        warn_of_choices(self.path, [self.model(part) for part in KINDS[self.kind] if part in WEIGHTED])

    @property
    def text_parts(self) -> list[str]:
        """Tokenizers and text encoders."""
        return [part for part in KINDS[self.kind] if part not in NETWORKS]

    def model(self, part: str) -> ModelFolder:
        """A part that has weights."""
        if part == "unet":
            return ModelFolder(self.path / self.chosen.folder, "diffusers", self.variant)
        folder = self.path / part
        names = [file.name for file in folder.glob("*")]
        return ModelFolder(folder, library_of(part), with_variant(names, library_of(part), self.variant))

    def key(self, kind: str, *parts: str, reading: Mapping[str, Json] | None = None) -> Key:
        """What decides that which these parts compute.

        Args:
            kind: of the result.
            parts: of the pipeline.
            reading: settings that the folder itself doesn't tell.
        """
        files: list[Path] = []
        for part in parts:
            files += self.model(part).files if part in WEIGHTED else sorted((self.path / part).iterdir())
        digests = {
            Path(os.path.relpath(file, self.path)).as_posix(): content_digest(file) for file in files if file.is_file()
        }
        return Key(kind, VERSION, {"pipeline": self.kind, **(reading or {})}, digests)

    @cached_property
    def schedule(self) -> Schedule:
        """The scheduler's ᾱ and prediction.

        The state at timestep 0 has ᾱ_0, as in the authors' code, whatever ``set_alpha_to_one`` says: that concerns the
        step from timestep 0 to the image, which no trajectory takes.
        """
        return Schedule.of(read_json(self.path / SCHEDULER_CONFIG), self.path / SCHEDULER_CONFIG)

    def scheduler(self, kind: Any, **changes: Json) -> Any:
        """A scheduler of another class with the same schedule.

        Args:
            kind: class of diffusers.
            **changes: settings in which it differs.

        Raises:
            UserError: where diffusers refuses the settings for this class.
        """
        file = self.path / SCHEDULER_CONFIG
        config = read_json(file)
        checked(Scheduler, config, file)
        try:
            return kind.from_config(config | changes)
        except Exception as error:  # whatever its computations raise for numbers that they can't take
            raise UserError(
                f"diffusers refuses a {kind.__name__} with the settings of {file} ({reason(error)})."
            ) from error

    def _settings(self, part: str, schema: type[T]) -> T:
        file = self.model(part).path / CONFIG
        return checked(schema, read_json(file), file)

    @property
    def autoencoder(self) -> Autoencoder:
        """What the autoencoder's description says."""
        return self._settings("vae", Autoencoder)

    @property
    def denoiser(self) -> UNet2DCondition:
        """What the U-Net's description says."""
        return self._settings("unet", UNet2DCondition)

    @property
    def text_encoders(self) -> list[TextEncoder]:
        """What the text encoders' descriptions say, in the order of `text_parts`."""
        return [self._settings(part, TextEncoder) for part in self.text_parts if part in WEIGHTED]

    @property
    def scaling(self) -> tuple[list[float], list[float]]:
        """Shift and scale with x_0 = (z − shift) · scale, one a latent channel, as the autoencoder's config tells."""
        vae = self.autoencoder
        factor = vae.scaling_factor or 1.0
        if vae.latents_mean and vae.latents_std:
            return list(vae.latents_mean), [factor / std for std in vae.latents_std]
        return [vae.shift_factor or 0.0] * vae.latent_channels, [factor] * vae.latent_channels

    @property
    def assumed_scaling(self) -> dict[str, Json]:
        """The scaling where the autoencoder's description leaves it to diffusers, for keys; else it is in the file."""
        described = "scaling_factor" in read_json(self.path / "vae" / CONFIG)
        return {} if described else {"scaling": self.scaling}

    @property
    def pixels_a_latent(self) -> int:
        """Side of the square of pixels that one latent stands for."""
        return int(2 ** (len(self.autoencoder.block_out_channels) - 1))

    def refuse_other_images(self, images: Images) -> None:
        """Compare what the autoencoder takes with what the dataset gives.

        Raises:
            UserError: with both shapes.
        """
        channels, height, width = images.shape
        taken, unit = self.autoencoder.in_channels, self.pixels_a_latent
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

    def refuse_unusable_parts(self) -> None:
        """Compare the networks with their weights, and try each part once; before anything is encoded.

        Raises:
            UserError: see `ModelFolder.refuse_unusable`, `tokenizer` and `Schedule.of`.
        """
        import diffusers
        import transformers

        _ = self.schedule
        for part, (kind, *_) in KINDS[self.kind].items():
            if part not in WEIGHTED:
                self.tokenizer(part)
            else:
                self.model(part).refuse_unusable(getattr(diffusers if part in NETWORKS else transformers, kind))

    def unet(self) -> UNet2DConditionModel:
        """The noise predictor's network; see `ModelFolder.load`."""
        from diffusers import UNet2DConditionModel

        return self.model("unet").load(UNet2DConditionModel)

    def vae(self) -> AutoencoderKL:
        """The autoencoder; see `ModelFolder.load`."""
        from diffusers import AutoencoderKL

        return self.model("vae").load(AutoencoderKL)

    def tokenizer(self, part: str = "tokenizer") -> CLIPTokenizer:
        """One of the tokenizers, whose limit is the one of its text encoder where it names none or a higher one.

        Raises:
            UserError: where it can't be read, or makes other tokens of a text than its text encoder takes.
        """
        from transformers import CLIPTokenizer

        folder, encoder = self.path / part, self._settings(part.replace("tokenizer", "text_encoder"), TextEncoder)
        refuse_strange_files(folder)
        described = folder / "tokenizer_config.json"
        limit = encoder.max_position_embeddings
        if described.is_file():
            limit = int(min(checked(Tokenizer, read_json(described), described).model_max_length or limit, limit))
        try:
            tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(
                folder, local_files_only=True, model_max_length=limit
            )
            tokens = tokenizer("a text", padding="max_length", max_length=limit, truncation=True)["input_ids"]
            highest = max(*tokens, *tokenizer.get_vocab().values())
        except Exception as error:  # whatever the tokenizer's files make it raise
            raise unreadable(folder, error) from error
        if len(tokens) != limit or highest >= encoder.vocab_size:
            raise UserError(
                f"The tokenizer in {folder} makes {len(tokens)} tokens up to number {highest} of a text, and its text "
                f"encoder takes {limit} up to number {encoder.vocab_size - 1}: put the tokenizer of its training there."
            )
        return tokenizer

    def pipeline(self, **networks: Any) -> Any:
        """The pipeline with what `encode_prompt` needs, and with those networks that are given, sampled by DDIM.

        Raises:
            UserError: for a tokenizer or text encoder that can't be read.
        """
        import diffusers
        import transformers

        parts: dict[str, Any] = dict.fromkeys(NETWORKS) | networks
        for part in self.text_parts:
            if part in WEIGHTED:
                parts[part] = self.model(part).load(getattr(transformers, KINDS[self.kind][part][0]))
            else:
                parts[part] = self.tokenizer(part)
        options: dict[str, Any] = {}
        if self.kind == "StableDiffusionXLPipeline":
            file = self.path / PIPELINE_CONFIG
            index = checked(PipelineIndex, read_json(file), file)
            options["force_zeros_for_empty_prompt"] = index.force_zeros_for_empty_prompt
        else:
            options |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        # Any other clip_sample or steps_offset is warned of.
        scheduler = self.scheduler(diffusers.DDIMScheduler, clip_sample=False, steps_offset=1)
        return getattr(diffusers, self.kind)(scheduler=scheduler, **parts, **options)


def refuse_other_parts(index: Mapping[str, Any], folder: TextToImageFolder) -> None:
    """Refuse a pipeline whose parts are not those of its kind.

    Raises:
        UserError: naming the part.
    """
    for part, classes in KINDS[folder.kind].items():
        declared = index.get(part)
        name = declared[1] if isinstance(declared, list) and len(declared) == 2 else None
        if name not in classes:
            raise UserError(
                f"The {part} of the {folder.kind} in {folder.path} is a {name}: it must be a {' or '.join(classes)}."
            )
        if not (folder.path / (folder.chosen.folder if part == "unet" else part)).is_dir():
            raise UserError(f"The {folder.kind} in {folder.path} has no folder {part}: is it complete?")


def refuse_other_unets(folder: TextToImageFolder) -> None:
    """Refuse a U-Net that needs more than a latent, a timestep and a text of the pipeline's encoders.

    Raises:
        UserError: naming what it needs.
    """
    unet, channels = folder.denoiser, folder.autoencoder.latent_channels
    if unet.in_channels != channels or unet.out_channels != channels:
        raise UserError(
            f"The U-Net in {folder.path} takes {unet.in_channels} channels and gives {unet.out_channels}, where the "
            f"autoencoder makes {channels}: a pipeline for inpainting or upscaling can't be attacked."
        )
    classes = unet.class_embed_type or unet.num_class_embeds
    if unet.addition_embed_type not in (None, *TEXT_CONDITIONS) or classes or unet.encoder_hid_dim_type:
        raise UserError(f"The U-Net in {folder.path} needs more than a text to predict noise: it can't be attacked.")
    text = sum(encoder.hidden_size for encoder in folder.text_encoders)
    if unet.cross_attention_dim not in (text, [text] * len(unet.block_out_channels)):
        raise UserError(
            f"The U-Net in {folder.path} takes {unet.cross_attention_dim} numbers of each token, and the text encoders "
            f"give {text}: put the networks of one training there."
        )
    if unet.addition_embed_type == "text_time":
        pooled = (unet.projection_class_embeddings_input_dim or 0) - 6 * (unet.addition_time_embed_dim or 0)
        given = folder.text_encoders[-1].projection_dim if folder.kind == "StableDiffusionXLPipeline" else 0
        if pooled != given or not given:
            raise UserError(
                f"The U-Net in {folder.path} takes {pooled} numbers of each whole text, and the text encoders give "
                f"{given}: put the networks of one training there."
            )
    if unet.time_cond_proj_dim:
        raise UserError(
            f"The U-Net in {folder.path} is a distilled one that takes the guidance as an input: it can't be attacked."
        )
