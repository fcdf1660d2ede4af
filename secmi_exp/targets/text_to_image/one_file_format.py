"""The format of Stable Diffusion in one file: names of its weights, by which its versions are told apart.

Such a file holds the weights of U-Net, autoencoder and text encoders under the names of the original code. Source:
https://github.com/CompVis/stable-diffusion, https://github.com/Stability-AI/stablediffusion and
https://github.com/Stability-AI/generative-models.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from secmi_exp.targets.loading.file_kind import ORIGINAL_UNET

AUTOENCODER = "first_stage_model."
"""Prefix of the autoencoder's weights."""
AVERAGE = "model_ema."
"""Prefix of the averaged weights of the U-Net, whose names have no points after it."""
PREDICTS_V = "v_pred"
"""Name of an empty tensor by which some fine-tuned models say that they predict v."""
FIRST_LAYER = f"{ORIGINAL_UNET}input_blocks.0.0.weight"


@dataclass(frozen=True)
class Family:
    """A version of Stable Diffusion, recognised by the names of its text encoders' weights."""

    name: str
    pipeline: str
    """Class in diffusers."""
    text_encoders: Mapping[str, str]
    """Part of the pipeline → prefix of its weights."""
    repository: str
    """Repository of the hub with its descriptions, tokenizer and schedule; the one that diffusers takes."""


FAMILIES = (
    Family(
        "Stable Diffusion XL",
        "StableDiffusionXLPipeline",
        {"text_encoder": "conditioner.embedders.0.transformer.", "text_encoder_2": "conditioner.embedders.1.model."},
        "stabilityai/stable-diffusion-xl-base-1.0",
    ),
    Family(
        "Stable Diffusion 2.x",
        "StableDiffusionPipeline",
        {"text_encoder": "cond_stage_model.model."},
        "stabilityai/stable-diffusion-2-1",
    ),
    Family(
        "Stable Diffusion 1.x",
        "StableDiffusionPipeline",
        {"text_encoder": "cond_stage_model.transformer."},
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
)


def averaged_name(name: str) -> str:
    """Return the name of the average of one of the U-Net's weights.

    >>> averaged_name("model.diffusion_model.out.2.bias")
    'model_ema.diffusion_modelout2bias'
    """
    return AVERAGE + name.removeprefix("model.").replace(".", "")
