"""Text-to-image pipelines and a BLIP model with random weights, tiny, as their libraries save them."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (  # type: ignore[attr-defined]
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from secmi_exp.targets.text_to_image.byte_tokenizer import save_byte_tokenizer

SIDE = 16
"""Pixels of the images that the pipelines take; their latents are 8×8."""
TOKENS = 16

SCHEDULER: dict[str, Any] = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip
"""Stable Diffusion's."""


def autoencoder(**settings: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=[8, 8], down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=4, norm_num_groups=4, sample_size=SIDE, **{"scaling_factor": 0.7} | settings,
    )  # fmt: skip


def unet(**settings: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **{"cross_attention_dim": 8} | settings,
    )  # fmt: skip


def text_encoder(vocabulary: int, kind: Any = CLIPTextModel, width: int = 8) -> Any:
    ends: dict[str, Any] = {
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
    return kind(
        CLIPTextConfig(
            vocab_size=vocabulary, hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=TOKENS, projection_dim=8, **ends,
        )
    ).eval()  # fmt: skip


def save_stable_diffusion(folder: Path, seed: int = 0, vae: Any = None, **scheduler: Any) -> Path:
    """Version 1's layout."""
    torch.manual_seed(seed)
    vocabulary = save_byte_tokenizer(folder / "tokenizer", TOKENS)
    StableDiffusionPipeline(
        vae=autoencoder(**(vae or {})), text_encoder=text_encoder(vocabulary), unet=unet(),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"), scheduler=DDIMScheduler(**SCHEDULER | scheduler),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_stable_diffusion_xl(folder: Path, seed: int = 0, second_width: int = 8) -> Path:
    """SDXL's layout: two text encoders, and conditions on pooled text and sizes."""
    torch.manual_seed(seed)
    vocabulary = save_byte_tokenizer(folder / "tokenizer", TOKENS)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    added = {
        "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 8 + 6 * 4, "cross_attention_dim": 8 + second_width,
    }  # fmt: skip
    StableDiffusionXLPipeline(
        vae=autoencoder(), text_encoder=text_encoder(vocabulary), tokenizer=tokenizer, unet=unet(**added),
        text_encoder_2=text_encoder(vocabulary, CLIPTextModelWithProjection, second_width), tokenizer_2=tokenizer,
        scheduler=DDIMScheduler(**SCHEDULER),
    ).save_pretrained(folder)  # fmt: skip
    return folder


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "a", "seven", "zero", "face", "by", "hand"]


def save_blip(folder: Path) -> Path:
    """A BLIP model for captions, with its processor."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        "vocab_size": len(WORDS), "encoder_hidden_size": 16, "max_position_embeddings": 64, "projection_dim": 16,
        "bos_token_id": WORDS.index("[DEC]"), "sep_token_id": WORDS.index("[SEP]"), "pad_token_id": 0,
        "eos_token_id": WORDS.index("[SEP]"), "is_decoder": True,
    }  # fmt: skip
    vision = {"image_size": 16, "patch_size": 8, "projection_dim": 16}
    BlipForConditionalGeneration(
        BlipConfig(text_config=sizes | text, vision_config=sizes | vision, projection_dim=16)
    ).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 16, "width": 16}), tokenizer).save_pretrained(folder)
    return folder


def edited(path: Path, **changes: Any) -> None:
    """Change a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
