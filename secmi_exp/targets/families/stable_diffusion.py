"""Stable Diffusion 1.x, 2.x and XL, and other pipelines with the same parts.

Sources: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (CVPR 2022); Podell et al.,
"SDXL" (2023).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from secmi_exp.errors import UserError
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.latent_folder import UNET_AND_VAE, Parts
from secmi_exp.targets.loading.model_file_schemas import PipelineIndex, UNet2DCondition
from secmi_exp.targets.loading.settings_files import read_json
from secmi_exp.targets.loading.training_folder import PIPELINE_CONFIG
from secmi_exp.targets.text_to_image.pipeline_folder import CLIP_TOKENIZERS, TextToImageFolder, named

XL = "StableDiffusionXLPipeline"


class StableDiffusion(TextToImageFolder):
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


def time_ids(x_t: Tensor, pixels_per_latent: int) -> Tensor:
    """Return SDXL's condition on sizes: original and target size are the images' own, without cropping; [B, 6].

    Source: Podell et al., "SDXL" (2023), section 2.2, with the values that diffusers' pipeline has by default.

    >>> time_ids(torch.zeros(1, 4, 2, 3), 8).tolist()
    [[16, 24, 0, 0, 16, 24]]
    """
    height, width = (side * pixels_per_latent for side in x_t.shape[-2:])
    columns = [torch.full((len(x_t),), value, device=x_t.device) for value in (height, width, 0, 0, height, width)]
    return torch.stack(columns, dim=1)
