"""Stable Diffusion 1.x, 2.x and XL, and other pipelines with the same parts.

Sources: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (CVPR 2022); Podell et al.,
"SDXL" (2023).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.regular import is_regular
from secmi_exp.files.strict_json import Json
from secmi_exp.store import FileDigest, Key, file_digest
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.latent_folder import UNET_AND_VAE, Parts, has_weights, library_of
from secmi_exp.targets.loading.libraries import network_class
from secmi_exp.targets.loading.model_file_schemas import PipelineIndex, UNet2DCondition
from secmi_exp.targets.loading.settings_files import read_json
from secmi_exp.targets.loading.training_folder import PIPELINE_CONFIG
from secmi_exp.targets.text_to_image.lora_file import LoRAFile
from secmi_exp.targets.text_to_image.pipeline_folder import CLIP_TOKENIZERS, TextToImageFolder, named
from secmi_exp.torch_on_use import Tensor, torch

fuse = Deferred("secmi_exp.targets.text_to_image.lora_fusion:fuse")
network_without_memory = Deferred("secmi_exp.targets.loading.blank_networks:network_without_memory")
pairs_of = Deferred("secmi_exp.targets.text_to_image.lora_fusion:pairs_of")

XL = "StableDiffusionXLPipeline"


@dataclass(frozen=True)
class StableDiffusionFolder(TextToImageFolder):
    """A U-Net with cross-attention to one or two CLIP text encoders."""

    kinds: ClassVar[Mapping[str, Parts]] = {
        "StableDiffusionPipeline": {**UNET_AND_VAE, "tokenizer": CLIP_TOKENIZERS, "text_encoder": ("CLIPTextModel",)},
        XL: {
            **UNET_AND_VAE,
            "tokenizer": CLIP_TOKENIZERS,
            "tokenizer_2": CLIP_TOKENIZERS,
            "text_encoder": ("CLIPTextModel",),
            "text_encoder_2": ("CLIPTextModelWithProjection",),
        },
    }

    lora: LoRAFile | None = None
    """A low-rank adapter that is added to the weights of networks when they are loaded."""

    def key(
        self, kind: str, *parts: str, reading: Mapping[str, Json] | None = None, digest: FileDigest = file_digest
    ) -> Key:
        """See `LatentFolder.key`; an adapter counts where it changes one of the parts."""
        key = super().key(kind, *parts, reading=reading, digest=digest)
        if self.lora is None or not set(parts).intersection(self.lora.parts):
            return key
        config = {**key.config, "lora_scale": self.lora.scale}
        inputs = {**key.inputs, "lora": digest(self.lora.path)}
        return replace(key, config=config, inputs=inputs)

    def load_denoiser(self) -> Any:
        """See `LatentFolder.load_denoiser`; with the adapter added."""
        return self._adapted("unet", super().load_denoiser())

    def text_encoder(self, part: str) -> Any:
        """See `TextToImageFolder.text_encoder`; with the adapter added."""
        return self._adapted(part, super().text_encoder(part))

    def _adapted(self, part: str, network: Any) -> Any:
        if self.lora and part in self.lora.parts:
            self.refuse_other_adapters()
            fuse(network, part, self.lora, self._layers)
        return network

    def refuse_other_adapters(self) -> None:
        """Compare an adapter with the networks that it changes, before any of them is used.

        Raises:
            UserError: for an adapter that can't be read, or that doesn't fit.
        """
        for part in self.lora.parts if self.lora else ():
            kind = network_class(library_of(part), self.parts[part][0])
            model = self.model(part)
            network = network_without_memory(kind, model.config, f"the network in {model.path}", shared=True)
            pairs_of(network, part, self.lora, self._layers)

    @property
    def _layers(self) -> int | list[int]:
        """Layers of each of the U-Net's blocks."""
        return self.description("unet", UNet2DCondition).layers_per_block

    def refuse_unusable_parts(self) -> None:
        """See `TextToImageFolder.refuse_unusable_parts`; the adapter too."""
        super().refuse_unusable_parts()
        self.refuse_other_adapters()

    @property
    def embeddings(self) -> tuple[str, ...]:
        """``text`` [B, L, D], and for SDXL ``pooled`` [B, D₂]."""
        return ("text", "pooled") if self.kind == XL else ("text",)

    def embed(
        self, pipeline: Any, prompts: list[str], device: torch.device | str = "cpu", *, negative: bool = False
    ) -> dict[str, Tensor]:
        """See `TextToImageFolder.embed`."""
        return named(
            pipeline.encode_prompt(
                prompts, device=device, num_images_per_prompt=1, do_classifier_free_guidance=negative
            )
        )

    def evaluate(self, network: Any, x: Tensor, times: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """See `LatentFolder.evaluate`."""
        added = None
        if "pooled" in condition:
            sizes = time_ids(x, self.pixels_per_latent).to(x.dtype)
            added = {"text_embeds": condition["pooled"], "time_ids": sizes}
        output: Tensor = network(x, times, encoder_hidden_states=condition["text"], added_cond_kwargs=added).sample
        return output

    def pipeline_options(self) -> dict[str, Any]:
        """See `TextToImageFolder.pipeline_options`."""
        options: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        if self.kind == XL:
            file = self.path / PIPELINE_CONFIG
            index = checked(PipelineIndex, read_json(file), file)
            options = {"force_zeros_for_empty_prompt": index.force_zeros_for_empty_prompt}
        # Any other clip_sample or steps_offset is warned of.
        return options | {"scheduler": self.scheduler("DDIMScheduler", clip_sample=False, steps_offset=1)}

    def refuse_other_denoisers(self) -> None:
        """Refuse a U-Net that needs more than a latent, a timestep and a text of the pipeline's encoders.

        Raises:
            UserError: naming what it needs.
        """
        unet = self.description("unet", UNet2DCondition)
        self.refuse_other_channels(unet.in_channels, unet.out_channels)
        classes = unet.class_embed_type or unet.num_class_embeds
        if unet.addition_embed_type not in (None, "text", "text_time") or classes or unet.encoder_hid_dim_type:
            raise UserError(f"The U-Net in {self.path} needs more than a text to predict noise: it can't be attacked.")
        text = sum(encoder.hidden_size for encoder in self.clip_encoders)
        if unet.cross_attention_dim not in (text, [text] * len(unet.block_out_channels)):
            raise UserError(
                f"The U-Net in {self.path} takes {unet.cross_attention_dim} numbers of each token, and the text "
                f"encoders give {text}: put the networks of one training there."
            )
        if unet.addition_embed_type == "text_time":
            pooled = (unet.projection_class_embeddings_input_dim or 0) - 6 * (unet.addition_time_embed_dim or 0)
            given = self.clip_encoders[-1].projection_dim if self.kind == XL else 0
            if pooled != given or not given:
                raise UserError(
                    f"The U-Net in {self.path} takes {pooled} numbers of each whole text, and the text encoders give "
                    f"{given}: put the networks of one training there."
                )
        if unet.time_cond_proj_dim:
            raise UserError(
                f"The U-Net in {self.path} is distilled and takes the guidance as an input: it can't be attacked."
            )

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


def time_ids(x_t: Tensor, pixels_per_latent: int) -> Tensor:
    """Return SDXL's condition on sizes: original and target size are the images' own, without cropping; [B, 6].

    Source: Podell et al., "SDXL" (2023), section 2.2, with the values that diffusers' pipeline has by default.

    >>> time_ids(torch.zeros(1, 4, 2, 3), 8).tolist()
    [[16, 24, 0, 0, 16, 24]]
    """
    height, width = (side * pixels_per_latent for side in x_t.shape[-2:])
    columns = [torch.full((len(x_t),), value, device=x_t.device) for value in (height, width, 0, 0, height, width)]
    return torch.stack(columns, dim=1)
