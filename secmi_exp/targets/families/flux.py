"""Flux: a transformer on packed latents, on the path of flow matching, with CLIP's pooled text and T5.

Source: FluxPipeline of https://github.com/huggingface/diffusers; Black Forest Labs published no paper of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from secmi_exp.targets.loading.latent_folder import VAE, Parts
from secmi_exp.targets.loading.model_file_schemas import T5Encoder
from secmi_exp.targets.loading.transformer_schemas import FluxTransformer
from secmi_exp.targets.text_to_image.pipeline_folder import CLIP_TOKENIZERS, T5, T5_TOKENIZERS, TextToImageFolder
from secmi_exp.torch_on_use import Tensor, torch


class FluxFolder(TextToImageFolder):
    """A transformer of 2×2 latents and T5's tokens; where it was distilled, it gets the guidance as an input."""

    kinds: ClassVar[Mapping[str, Parts]] = {
        "FluxPipeline": {
            **VAE,
            "transformer": ("FluxTransformer2DModel",),
            **{"tokenizer": CLIP_TOKENIZERS, "text_encoder": ("CLIPTextModel",)},
            **{"tokenizer_2": T5_TOKENIZERS, "text_encoder_2": T5},
        }
    }
    denoiser = "transformer"
    embeddings = ("text", "pooled")
    patch_size = 2

    @cached_property
    def transformer(self) -> FluxTransformer:
        """Description of the transformer."""
        return self.description(self.denoiser, FluxTransformer)

    @property
    def embeds_guidance(self) -> bool:
        """See `LatentFolder.embeds_guidance`."""
        return self.transformer.guidance_embeds

    def embed(
        self, pipeline: Any, prompts: list[str], device: torch.device | str = "cpu", *, negative: bool = False
    ) -> dict[str, Tensor]:
        """See `TextToImageFolder.embed`."""
        given = {"": prompts, "negative_": [""] * len(prompts)} if negative else {"": prompts}
        embeddings: dict[str, Tensor] = {}
        for sign, texts in given.items():
            text, pooled, _ = pipeline.encode_prompt(texts, None, device, max_sequence_length=self.t5_tokens)
            embeddings |= {f"{sign}text": text, f"{sign}pooled": pooled}
        return embeddings

    def evaluate(self, network: Any, x: Tensor, times: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """See `LatentFolder.evaluate`; the network gets σ as its time, and rows and columns of the packed latents."""
        height, width = (side // 2 for side in x.shape[-2:])
        rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
        places = torch.cartesian_prod(torch.zeros_like(rows[:1]), rows, columns).to(x.dtype)
        packed: Tensor = network(
            torch.nn.functional.pixel_unshuffle(x, 2).flatten(2).mT,
            condition["text"],
            condition["pooled"],
            times / 1000,
            img_ids=places,
            txt_ids=places.new_zeros(condition["text"].shape[1], 3),
            guidance=condition.get("guidance"),
        ).sample
        return torch.nn.functional.pixel_shuffle(packed.mT.reshape(len(x), -1, height, width), 2)

    def refuse_other_denoisers(self) -> None:
        """See `LatentFolder.refuse_other_denoisers`."""
        taken = self.transformer
        self.refuse_other_channels(taken.in_channels, taken.out_channels or taken.in_channels, packed=4)
        self.refuse_other_texts(taken.joint_attention_dim, self.description("text_encoder_2", T5Encoder).d_model)
        self.refuse_other_texts(taken.pooled_projection_dim, self.clip_encoders[0].hidden_size, "whole text")
