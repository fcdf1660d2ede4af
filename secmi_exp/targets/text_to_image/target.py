"""Base classes of text-to-image targets: how they are queried, and the inputs that they make of images and prompts."""

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.configuration.user_path import UserPath, UserPathOrName
from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Input, Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.interface import InputArrays, Inputs, InputSpace, PreparedTarget, queried
from secmi_exp.targets.loading.hub import fetch
from secmi_exp.targets.loading.latent_folder import LatentFolder
from secmi_exp.targets.loading.training_folder import WeightsChoice
from secmi_exp.targets.text_to_image.latents import EncodedImages
from secmi_exp.targets.text_to_image.lora_file import LoRAFile
from secmi_exp.targets.text_to_image.one_file import OneFile
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder, pipeline_files
from secmi_exp.targets.text_to_image.prompts import Captioner, EncodedPrompts, Prompts, PromptSource, own_captions

LatentPredictor = Deferred("secmi_exp.targets.latent_predictor:LatentPredictor")

VERSION = 1
"""Version of the predictions; raised when the same files would predict other noise."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TextToImage(ABC):
    """A text-to-image pipeline, and the way in which it is queried."""

    trained_here: ClassVar[bool] = False

    name: str
    prompt: PromptSource
    fixed_prompt: str | None
    """Prompt of all images with ``prompt: fixed``."""
    blip: UserPathOrName
    """Folder or repository of the model that writes the captions with ``prompt: blip``."""
    guidance: Annotated[FiniteFloat, Field(ge=0)]
    """w of classifier-free guidance; 1: none."""
    latents: Literal["sample", "mode"]
    """A sample of the autoencoder's posterior, or its mode."""
    attention_slicing: PositiveInt | Literal["auto", "max"] | None
    seed: NonNegativeInt

    def prepared(
        self,
        folder: LatentFolder,
        store: Store,
        *,
        trained_on: str | None = None,
        trained_now: bool = False,
        samples: Path | None = None,
    ) -> PreparedTarget:
        """Return a pipeline, ready to be queried in this way; the store gives the digests of its files."""
        if self.attention_slicing is not None and folder.denoiser != "unet":
            raise UserError(
                f"The {folder.denoiser} of a {folder.kind} can't compute attention in slices: set "
                "target.attention_slicing=null."
            )
        reading: dict[str, Json] = {"guidance": self.guidance, "version": VERSION, **outside_classes(target=self)}
        key = folder.key("noise", folder.denoiser, "scheduler", reading=reading, digest=store.file_digest)
        return PreparedTarget(
            folder.path,
            queried(key, folder.axis),
            load=partial(LatentPredictor, folder, self.guidance, self.attention_slicing),
            trained_on=trained_on,
            trained_now=trained_now,
            samples=samples,
            inputs=partial(self.inputs, folder),
        )

    def inputs(self, folder: LatentFolder, images: Images, store: Store, runtime: Runtime) -> Inputs:
        """Return the latents, and embeddings of prompts."""
        return LatentInputs(self, folder, images, store, runtime)

    @property
    def input_space(self) -> InputSpace:
        """See `Target.input_space`."""
        return "latents"

    @property
    def conditions(self) -> tuple[str, ...]:
        """See `Target.conditions`: the images' captions where they are the prompts."""
        return ("captions",) if self.prompt == "caption" else ()

    def prompts(self, images: Images, store: Store, runtime: Runtime) -> Prompts:
        """Return the prompt of each image.

        Raises:
            UserError: where no image has a caption, the fixed prompt isn't set, or there is no BLIP model.
        """
        match self.prompt:
            case "caption":
                return own_captions(images)
            case "blip":
                return Captioner(self.blip).captions(images, store, runtime)
            case "fixed" if self.fixed_prompt is None:
                raise UserError("target.prompt=fixed needs a text: add target.fixed_prompt='…'.")
        return Prompts(self.prompt, [self.fixed_prompt or "" if self.prompt == "fixed" else ""] * len(images), 0)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FromElsewhere(TextToImage):
    """A target that is a pipeline on disk or on the hub, of Stable Diffusion's family, or is trained from one."""

    path: UserPathOrName
    config: UserPathOrName | None
    """Folder or repository with what a checkpoint in one file lacks; None: that of its version of Stable Diffusion."""
    weights: WeightsChoice
    variant: str | None
    """Variant of the weights, such as fp16; None: the default one."""
    lora: UserPath | None
    """A low-rank adapter that is added to the weights."""
    lora_scale: FiniteFloat
    """Factor of the adapter; 1: as it was trained."""

    @cached_property
    def one_file(self) -> OneFile | None:
        """The checkpoint in one file, where the path is one."""
        return OneFile.at(Path(self.path), self.config, self.weights)

    @cached_property
    def folder(self) -> LatentFolder:
        """The pipeline, fetched where it is on the hub; of a checkpoint in one file the one that describes it.

        Raises:
            UserError: for a path where there is nothing or another kind of model, and for target.config without a
                checkpoint that needs it.
        """
        if self.one_file:
            return self.one_file.described
        if self.config is not None:
            raise UserError(
                f"target.config={self.config} completes a checkpoint of Stable Diffusion in one file, and "
                f"target.path={self.path} is none: leave it out."
            )
        return self.read(self._fetched)

    @cached_property
    def _fetched(self) -> Path:
        """The folder of the pipeline, fetched where it is on the hub."""
        files = partial(pipeline_files, weights=self.weights, variant=self.variant, where=self.path)
        return fetch(self.path, files)

    def read(self, path: Path) -> LatentFolder:
        """Read the descriptions of the pipeline in a folder."""
        return StableDiffusionFolder.from_path(path, self.weights, self.variant)

    @property
    def timesteps(self) -> Timesteps:
        """See `Target.timesteps`."""
        return self.folder.timesteps

    def pipeline(self, members: Images, store: Store) -> LatentFolder:
        """Return the pipeline with its weights and its adapter; weights in one file are converted first.

        Args:
            members: the training images.
            store: where a conversion is kept.

        Raises:
            UserError: for images that it can't take, a checkpoint that can't be converted, and an adapter that can't
                be read.
        """
        self.folder.refuse_other_images(members)
        if self.lora is None and self.lora_scale != 1.0:
            raise UserError(f"target.lora_scale={self.lora_scale:g} scales an adapter: add target.lora=FILE.")
        lora = LoRAFile.at(self.lora, self.lora_scale, self.folder.parts) if self.lora else None
        folder = self.folder
        if self.one_file:
            self.one_file.warn_of_assumptions()
            folder = self.one_file.converted(store)
        else:
            folder.warn_of_choices()
        if lora is None:
            return folder
        if not isinstance(folder, StableDiffusionFolder):
            raise UserError(f"target.lora={self.lora} can't be added to a {folder.kind}: only to Stable Diffusion.")
        return replace(folder, lora=lora)


@plain_dataclass(frozen=True)
class LatentInputs:
    """Latents of images, and embeddings of their prompts where the pipeline takes any, for a `LatentPredictor`."""

    target: TextToImage
    folder: LatentFolder
    images: Images
    store: Store
    runtime: Runtime

    def __post_init__(self) -> None:
        self.folder.refuse_other_images(self.images)

    @cached_property
    def _encoded_images(self) -> EncodedImages:
        return EncodedImages(self.folder, self.images, self.store, self.runtime)

    @cached_property
    def _encoded_prompts(self) -> EncodedPrompts | None:
        if not isinstance(self.folder, TextToImageFolder):
            return None
        prompts = self.target.prompts(self.images, self.store, self.runtime)
        return EncodedPrompts(self.folder, prompts, self.store, self.runtime)

    @property
    def _latents_seed(self) -> int | None:
        return self.target.seed if self.target.latents == "sample" else None

    @cached_property
    def key(self) -> Key:
        """Key of posteriors, what is drawn from them, embeddings, and which image has which embedding."""
        config: dict[str, Json] = {"seed": self._latents_seed, "scaling": self.folder.scaling}
        config |= outside_classes(target=self.target)
        inputs: dict[str, Input] = {"posteriors": self._encoded_images.key}
        if encoded := self._encoded_prompts:
            inputs |= {"embeddings": encoded.key, "prompts": encoded.prompts.digest}
        return Key("inputs", VERSION, config, inputs)

    def arrays(self) -> InputArrays:
        """Find latents and embeddings in the store, or encode."""
        latents = self._encoded_images.latents(seed=self._latents_seed)
        if not self._encoded_prompts:
            return InputArrays(latents)
        guided = self.target.guidance != 1.0 and not self.folder.embeds_guidance
        return InputArrays(latents, self._encoded_prompts.condition(guided=guided))

    def texts(self) -> dict[str, Sequence[str]]:
        """Return the prompts."""
        return {"prompts": self._encoded_prompts.prompts.texts} if self._encoded_prompts else {}

    def facts(self) -> dict[str, Json]:
        """Return the facts of the prompts."""
        return {"prompts": self._encoded_prompts.facts()} if self._encoded_prompts else {}
