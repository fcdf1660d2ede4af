"""Stable Diffusion 3 and 3.5: a transformer on the path of flow matching, with two CLIP text encoders and T5.

Source: Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis" (ICML 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from secmi_exp.files.strict_json import Json
from secmi_exp.targets.loading.json_fields import JsonObject
from secmi_exp.targets.loading.latent_folder import VAE, Parts
from secmi_exp.targets.loading.model_file_schemas import T5Encoder
from secmi_exp.targets.loading.settings_files import read_json
from secmi_exp.targets.loading.training_folder import PIPELINE_CONFIG
from secmi_exp.targets.loading.transformer_schemas import SD3Transformer
from secmi_exp.targets.text_to_image.pipeline_folder import CLIP_TOKENIZERS, T5, T5_TOKENIZERS, TextToImageFolder, named
from secmi_exp.torch_on_use import Tensor, torch

CLIP = ("CLIPTextModelWithProjection",)
PARTS: Parts = {
    **VAE,
    "transformer": ("SD3Transformer2DModel",),
    **{"tokenizer": CLIP_TOKENIZERS, "tokenizer_2": CLIP_TOKENIZERS, "tokenizer_3": T5_TOKENIZERS},
    **{"text_encoder": CLIP, "text_encoder_2": CLIP, "text_encoder_3": T5},
}


@dataclass(frozen=True)
class DescribedNetwork:
    """Stands for a network where a pipeline asks for its sizes alone."""

    config: JsonObject


class StableDiffusion3Folder(TextToImageFolder):
    """A transformer of latents and texts together; where a pipeline has no T5, zeros stand for its embeddings."""

    kinds: ClassVar[Mapping[str, Parts]] = {"StableDiffusion3Pipeline": PARTS}
    denoiser = "transformer"
    embeddings = ("text", "pooled")
    t5_tokens = 256

    @cached_property
    def parts(self) -> Parts:
        """See `LatentFolder.parts`."""
        t5 = read_json(self.path / PIPELINE_CONFIG).get("text_encoder_3") not in (None, [None, None])
        return {part: classes for part, classes in PARTS.items() if t5 or not part.endswith("_3")}

    @cached_property
    def transformer(self) -> SD3Transformer:
        """Description of the transformer."""
        return self.description(self.denoiser, SD3Transformer)

    @property
    def embedding_settings(self) -> Mapping[str, Json]:
        """See `TextToImageFolder.embedding_settings`: they have the transformer's size."""
        return {"joint_attention_dim": self.transformer.joint_attention_dim}

    def pipeline(self, **networks: Any) -> Any:
        """See `TextToImageFolder.pipeline`; it asks the transformer for its sizes."""
        described = DescribedNetwork(self.transformer)
        return super().pipeline(**{"transformer": described, "text_encoder_3": None, "tokenizer_3": None} | networks)

    def embed(
        self, pipeline: Any, prompts: list[str], device: torch.device | str = "cpu", *, negative: bool = False
    ) -> dict[str, Tensor]:
        """See `TextToImageFolder.embed`."""
        encoded = pipeline.encode_prompt(prompts, None, None, device, 1, negative, max_sequence_length=self.t5_tokens)
        return named(encoded)

    def evaluate(self, network: Any, x: Tensor, times: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """See `LatentFolder.evaluate`."""
        output: Tensor = network(x, condition["text"], condition["pooled"], times).sample
        return output

    def refuse_other_denoisers(self) -> None:
        """See `LatentFolder.refuse_other_denoisers`."""
        taken, t5 = self.transformer, "text_encoder_3" in self.parts
        self.refuse_other_channels(taken.in_channels, taken.out_channels or taken.in_channels)
        clip = sum(encoder.hidden_size for encoder in self.clip_encoders)
        wanted = self.description("text_encoder_3", T5Encoder).d_model if t5 else taken.joint_attention_dim
        self.refuse_other_texts(taken.joint_attention_dim, max(wanted, clip))  # CLIP's are padded with zeros
        pooled = sum(encoder.projection_dim for encoder in self.clip_encoders)
        self.refuse_other_texts(taken.pooled_projection_dim, pooled, "whole text")
