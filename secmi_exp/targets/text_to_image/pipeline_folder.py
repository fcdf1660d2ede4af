"""A text-to-image pipeline of diffusers on disk: Stable Diffusion 1.x, 2.x and XL, and others with the same parts."""

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.regular import is_regular
from secmi_exp.store import Json, Key
from secmi_exp.targets.loading.blank_networks import network_class, network_without_memory
from secmi_exp.targets.loading.file_kind import refuse_strange_files
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.latent_folder import NETWORKS, SCHEDULER_CONFIG, LatentFolder, has_weights, library_of
from secmi_exp.targets.loading.model_file_schemas import PipelineIndex, TextEncoder, Tokenizer
from secmi_exp.targets.loading.settings_files import read_json, unreadable
from secmi_exp.targets.loading.training_folder import NETWORK_CONFIGS, PIPELINE_CONFIG, WeightsChoice, choose_network
from secmi_exp.targets.loading.weight_files import network_files, with_variant
from secmi_exp.targets.text_to_image.lora_file import LoRAFile

fuse = Deferred("secmi_exp.targets.text_to_image.lora_fusion:fuse")
pairs_of = Deferred("secmi_exp.targets.text_to_image.lora_fusion:pairs_of")
read_tokenizer = Deferred("transformers:CLIPTokenizer.from_pretrained")

TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "StableDiffusionPipeline": {**NETWORKS, "tokenizer": TOKENIZERS, "text_encoder": ("CLIPTextModel",)},
    "StableDiffusionXLPipeline": {
        **NETWORKS,
        "tokenizer": TOKENIZERS,
        "tokenizer_2": TOKENIZERS,
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
    },
}
"""Pipeline → part → the classes that it may have."""

TEXT_CONDITIONS = ("text", "text_time")
"""Kinds of added condition that are supported; the second is SDXL's."""


@dataclass(frozen=True)
class TextToImageFolder(LatentFolder):
    """Places and descriptions of the parts of a pipeline with one or two text encoders."""

    kinds = KINDS

    lora: LoRAFile | None = None
    """A low-rank adapter that is added to the weights of networks when they are loaded."""

    def key(self, kind: str, *parts: str, reading: Mapping[str, Json] | None = None) -> Key:
        """See `LatentFolder.key`; an adapter counts where it changes one of the parts."""
        key = super().key(kind, *parts, reading=reading)
        if self.lora is None or not set(parts).intersection(self.lora.parts):
            return key
        config, inputs = {**key.config, "lora_scale": self.lora.scale}, {**key.inputs, "lora": self.lora.digest}
        return replace(key, config=config, inputs=inputs)

    def unet(self) -> Any:
        """See `LatentFolder.unet`; with the adapter added."""
        return self._adapted("unet", super().unet())

    def text_encoder(self, part: str) -> Any:
        """Load a text encoder, with the adapter added; see `ModelFolder.load`."""
        return self._adapted(part, self.model(part).load(self.parts[part][0]))

    def _adapted(self, part: str, network: Any) -> Any:
        if self.lora and part in self.lora.parts:
            self.refuse_other_adapters()
            fuse(network, part, self.lora, self.denoiser.layers_per_block)
        return network

    def refuse_other_adapters(self) -> None:
        """Compare an adapter with the networks that it changes, before any of them is used.

        Raises:
            UserError: for an adapter that can't be read, or that doesn't fit.
        """
        for part in self.lora.parts if self.lora else ():
            kind = network_class(library_of(part), self.parts[part][0])
            network = network_without_memory(kind, self.model(part).config, f"the network in {self.model(part).path}")
            pairs_of(network, part, self.lora, self.denoiser.layers_per_block)

    @property
    def text_parts(self) -> list[str]:
        """Names of tokenizers and text encoders."""
        return [part for part in self.parts if part not in NETWORKS]

    @property
    def text_encoders(self) -> list[TextEncoder]:
        """Descriptions of the text encoders, in the order of `text_parts`."""
        return [self.description(part, TextEncoder) for part in self.text_parts if has_weights(part)]

    def tokenizer(self, part: str = "tokenizer") -> Any:
        """Read a tokenizer; its limit is its text encoder's where it names none or a higher one.

        Raises:
            UserError: where it can't be read, or makes other tokens of a text than its text encoder takes.
        """
        folder = self.path / part
        encoder = self.description(part.replace("tokenizer", "text_encoder"), TextEncoder)
        refuse_strange_files(folder)
        described = folder / "tokenizer_config.json"
        limit = encoder.max_position_embeddings
        if described.is_file():
            limit = int(min(checked(Tokenizer, read_json(described), described).model_max_length or limit, limit))
        try:
            tokenizer = read_tokenizer(folder, local_files_only=True, model_max_length=limit)
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
        """Make the pipeline with what `encode_prompt` needs, and with the given networks, sampled by DDIM.

        Raises:
            UserError: for a tokenizer or text encoder that can't be read.
        """
        parts: dict[str, Any] = dict.fromkeys(NETWORKS) | networks
        for part in self.text_parts:
            parts[part] = self.text_encoder(part) if has_weights(part) else self.tokenizer(part)
        options: dict[str, Any] = {}
        if self.kind == "StableDiffusionXLPipeline":
            file = self.path / PIPELINE_CONFIG
            index = checked(PipelineIndex, read_json(file), file)
            options["force_zeros_for_empty_prompt"] = index.force_zeros_for_empty_prompt
        else:
            options |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        # Any other clip_sample or steps_offset is warned of.
        scheduler = self.scheduler("DDIMScheduler", clip_sample=False, steps_offset=1)
        return network_class("diffusers", self.kind)(scheduler=scheduler, **parts, **options)

    def refuse_unusable_parts(self) -> None:
        """See `LatentFolder.refuse_unusable_parts`; reads the tokenizers too.

        Raises:
            UserError: see there, and `tokenizer`.
        """
        super().refuse_unusable_parts()
        for part in self.text_parts:
            if not has_weights(part):
                self.tokenizer(part)
        self.refuse_other_adapters()

    def refuse_unusable_descriptions(self) -> None:
        """Refuse descriptions, tokenizers and a schedule with which nothing can be computed, whatever the weights are.

        Raises:
            UserError: see `LatentFolder.refuse_unusable_parts` and `tokenizer`.
        """
        _ = self.schedule
        for part, (kind, *_) in self.parts.items():
            if has_weights(part):
                self.model(part).refuse_unusable_description(kind)
            else:
                self.tokenizer(part)

    def copy_descriptions(self, folder: Path) -> None:
        """Copy what isn't a network: the index, the scheduler and the tokenizers."""
        index = read_json(self.path / PIPELINE_CONFIG)
        parts = {"scheduler", *self.parts}
        kept = {name: value for name, value in index.items() if not isinstance(value, list) or name in parts}
        if self.kind == "StableDiffusionPipeline":
            absent = [None, None]
            kept |= {"safety_checker": absent, "feature_extractor": absent, "requires_safety_checker": False}
        for part in parts:
            if part == "scheduler" or not has_weights(part):
                (folder / part).mkdir(parents=True, exist_ok=True)
                for file in filter(is_regular, (self.path / part).glob("*")):  # deeper folders are never read
                    shutil.copy2(file, folder / part)
        (folder / PIPELINE_CONFIG).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")

    def refuse_other_unets(self) -> None:
        """Refuse a U-Net that needs more than a latent, a timestep and a text of the pipeline's encoders.

        Raises:
            UserError: naming what it needs.
        """
        super().refuse_other_unets()
        unet = self.denoiser
        classes = unet.class_embed_type or unet.num_class_embeds
        if unet.addition_embed_type not in (None, *TEXT_CONDITIONS) or classes or unet.encoder_hid_dim_type:
            raise UserError(f"The U-Net in {self.path} needs more than a text to predict noise: it can't be attacked.")
        text = sum(encoder.hidden_size for encoder in self.text_encoders)
        if unet.cross_attention_dim not in (text, [text] * len(unet.block_out_channels)):
            raise UserError(
                f"The U-Net in {self.path} takes {unet.cross_attention_dim} numbers of each token, and the text "
                f"encoders give {text}: put the networks of one training there."
            )
        if unet.addition_embed_type == "text_time":
            pooled = (unet.projection_class_embeddings_input_dim or 0) - 6 * (unet.addition_time_embed_dim or 0)
            given = self.text_encoders[-1].projection_dim if self.kind == "StableDiffusionXLPipeline" else 0
            if pooled != given or not given:
                raise UserError(
                    f"The U-Net in {self.path} takes {pooled} numbers of each whole text, and the text encoders give "
                    f"{given}: put the networks of one training there."
                )
        if unet.time_cond_proj_dim:
            raise UserError(
                f"The U-Net in {self.path} is distilled and takes the guidance as an input: it can't be attacked."
            )


def kept_files(kind: str) -> tuple[str, ...]:
    """List the files that a pipeline of this class must have in the store; weights may be of any format.

    >>> kept_files("StableDiffusionPipeline")[2:5]
    ('vae/config.json', 'vae/*model*', 'unet/config.json')
    """
    networks = [f"{part}/{file}" for part in KINDS[kind] if has_weights(part) for file in ("config.json", "*model*")]
    tokenizers = [f"{part}/*" for part in KINDS[kind] if not has_weights(part)]
    return PIPELINE_CONFIG, SCHEDULER_CONFIG, *networks, *tokenizers


def pipeline_files(names: Collection[str], weights: WeightsChoice, variant: str | None, where: str) -> list[str]:
    """Select the files that are read of a pipeline, among those of a whole repository.

    Args:
        names: names of all of its files.
        weights: see `TextToImageFolder.from_path`.
        variant: see `TextToImageFolder.from_path`.
        where: the repository, for messages.

    Raises:
        UserError: where it isn't clear which weights are meant, or those that were chosen aren't there.
    """
    described = (PIPELINE_CONFIG, SCHEDULER_CONFIG, *NETWORK_CONFIGS)
    read = [name for name in names if name in described or name.startswith(("tokenizer/", "tokenizer_2/"))]
    unet = choose_network(names, weights, where).folder
    for part in (*NETWORKS, "text_encoder", "text_encoder_2"):
        folder = unet if part == "unet" else part
        own = [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]
        chosen = variant if part == "unet" else with_variant(own, library_of(part), variant)
        read += network_files(names, folder, library_of(part), chosen, where) if folder else []
    return sorted(set(read))
