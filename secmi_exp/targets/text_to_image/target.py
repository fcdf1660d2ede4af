"""What all text-to-image targets have in common: how they are queried, and what they make of images and prompts."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.store import Input, Json, Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import InputArrays, PreparedTarget
from secmi_exp.targets.loading.hub import found
from secmi_exp.targets.loading.training_folder import WeightsChoice
from secmi_exp.targets.text_to_image.latents import EncodedImages
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder
from secmi_exp.targets.text_to_image.pipeline_parts import pipeline_files
from secmi_exp.targets.text_to_image.prompts import Captioner, EncodedPrompts, Prompts, PromptSource, own_captions

if TYPE_CHECKING:
    from secmi_exp.targets.text_to_image.text_conditioned import TextConditioned

VERSION = 1
"""Of the predictions; raised when the same files would predict other noise."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TextToImage(ABC):
    """How a text-to-image pipeline is queried."""

    name: str
    prompt: PromptSource
    fixed_prompt: str | None
    """What ``prompt: fixed`` gives to all images."""
    blip: str
    """Folder or repository of the model that ``prompt: blip`` asks."""
    guidance: Annotated[FiniteFloat, Field(ge=0)]
    """w of classifier-free guidance; 1: none."""
    latents: Literal["sample", "mode"]
    """Of the autoencoder's posterior."""
    attention_slicing: PositiveInt | Literal["auto", "max"] | None
    seed: NonNegativeInt

    def prepared(
        self,
        folder: TextToImageFolder,
        *,
        trained_on: str | None = None,
        trained_now: bool = False,
        samples: Path | None = None,
    ) -> PreparedTarget:
        """A pipeline that is there, ready to be queried in this way."""
        reading: dict[str, Json] = {"guidance": self.guidance, "version": VERSION, **outside_classes(target=self)}
        key = folder.key("noise", "unet", "scheduler", reading=reading)
        return PreparedTarget(
            folder.path,
            key,
            load=partial(load, folder, self.guidance, self.attention_slicing),
            trained_on=trained_on,
            trained_now=trained_now,
            samples=samples,
            inputs=partial(TextToImageInputs, self, folder),
        )

    @property
    def uses_captions(self) -> bool:
        """Whether prompts are the images' own captions."""
        return self.prompt == "caption"

    def prompts(self, images: Images, store: Store, runtime: Runtime) -> Prompts:
        """The prompt of each image.

        Raises:
            UserError: where they have no captions, no text is given for all of them, or no BLIP model is to be had.
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
    """A target that is, or starts from, a pipeline on disk or on the hub."""

    path: str
    weights: WeightsChoice
    variant: str | None
    """Of the weights, such as fp16; None: the default ones."""

    @cached_property
    def folder(self) -> TextToImageFolder:
        """Where it lies; fetched where it is on the hub."""
        files = partial(pipeline_files, weights=self.weights, variant=self.variant, where=self.path)
        return TextToImageFolder.of(found(self.path, files), self.weights, self.variant)

    @property
    def timesteps(self) -> Timesteps:
        """Of the scheduler."""
        return self.folder.schedule.timesteps


@plain_dataclass(frozen=True)
class TextToImageInputs:
    """Latents and embeddings of images and their prompts, for a `TextConditioned` noise predictor."""

    target: TextToImage
    folder: TextToImageFolder
    images: Images
    store: Store
    runtime: Runtime

    def __post_init__(self) -> None:
        self.folder.refuse_other_images(self.images)

    @cached_property
    def _encoded_images(self) -> EncodedImages:
        return EncodedImages(self.folder, self.images, self.runtime)

    @cached_property
    def _encoded_prompts(self) -> EncodedPrompts:
        prompts = self.target.prompts(self.images, self.store, self.runtime)
        return EncodedPrompts(self.folder, prompts, self.runtime)

    @property
    def _latents_seed(self) -> int | None:
        return self.target.seed if self.target.latents == "sample" else None

    @cached_property
    def key(self) -> Key:
        """Of posteriors, what is drawn from them, embeddings, and which image has which."""
        config: dict[str, Json] = {"seed": self._latents_seed, "scaling": self.folder.scaling}
        config |= outside_classes(target=self.target)
        inputs: dict[str, Input] = {
            "posteriors": self._encoded_images.key,
            "embeddings": self._encoded_prompts.key,
            "prompts": self._encoded_prompts.prompts.digest,
        }
        return Key("inputs", VERSION, config, inputs)

    def arrays(self) -> InputArrays:
        """Encodes what isn't in the store."""
        latents = self._encoded_images.latents(self.store, seed=self._latents_seed)
        guided = self.target.guidance != 1.0
        return InputArrays(latents, self._encoded_prompts.condition(self.store, guided=guided))

    def texts(self) -> dict[str, Sequence[str]]:
        """The prompts, whoever wrote them."""
        return {"prompts": self._encoded_prompts.prompts.texts}

    def facts(self) -> dict[str, Json]:
        """Of the prompts."""
        return {"prompts": self._encoded_prompts.facts(self.store)}


def load(folder: TextToImageFolder, guidance: float, attention_slicing: str | int | None) -> TextConditioned:
    """The noise predictor of a pipeline."""
    from secmi_exp.targets.text_to_image.text_conditioned import TextConditioned

    return TextConditioned(folder, guidance, attention_slicing)
