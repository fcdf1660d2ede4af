"""Pipelines of the further families with random weights, as small as they can be, as diffusers saves them."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LDMPipeline,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    UNet2DModel,
    VQModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (  # type: ignore[attr-defined]
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from secmi_exp.targets.text_to_image.byte_tokenizer import save_byte_tokenizer
from tests.support.tiny_pipelines import SIDE, TOKENS, autoencoder, text_encoder

LETTERS = "▁abcdefghijklmnopqrstuvwxyz"
WIDTH = 16
"""Of T5's embeddings: those of two of the tiny CLIP encoders."""
TRAILING: dict[str, Any] = {"timestep_spacing": "trailing", "clip_sample": False}


def save_letter_tokenizer(folder: Path) -> int:
    """A tokenizer of T5's kind, each letter a token; returns the size of its vocabulary."""
    tokens = ["<pad>", "</s>", "<unk>", *LETTERS]
    tokenizer = Tokenizer(models.Unigram([(token, -1.0 - number) for number, token in enumerate(tokens)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "T5Tokenizer", "model_max_length": 64, "extra_ids": 0}
    ends = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described | ends))
    return len(tokens)


def t5(folder: Path, width: int = WIDTH) -> tuple[T5TokenizerFast, T5EncoderModel]:
    vocabulary = save_letter_tokenizer(folder)
    config = T5Config(vocab_size=vocabulary, d_model=width, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    return T5TokenizerFast.from_pretrained(folder), T5EncoderModel(config).eval()


def clip(folder: Path) -> tuple[CLIPTokenizer, int]:
    vocabulary = save_byte_tokenizer(folder, TOKENS)
    return CLIPTokenizer.from_pretrained(folder), vocabulary


def vae() -> Any:
    """As those of Stable Diffusion 3 and Flux: shifted, and without convolutions around the posterior."""
    return autoencoder(shift_factor=0.3, use_quant_conv=False, use_post_quant_conv=False)


def save_sd3(folder: Path, *, with_t5: bool = True, **settings: Any) -> Path:
    torch.manual_seed(0)
    tokenizer, vocabulary = clip(folder / "tokenizer")
    t5_tokenizer, t5_encoder = t5(folder / "tokenizer_3") if with_t5 else (None, None)
    sizes: dict[str, Any] = {
        "sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 2,
        "attention_head_dim": 4, "num_attention_heads": 2, "joint_attention_dim": WIDTH, "caption_projection_dim": 8,
        "pooled_projection_dim": 16, "pos_embed_max_size": 8,
    }  # fmt: skip
    StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(**sizes | settings), scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae(),
        text_encoder=text_encoder(vocabulary, CLIPTextModelWithProjection), tokenizer=tokenizer,
        text_encoder_2=text_encoder(vocabulary, CLIPTextModelWithProjection), tokenizer_2=tokenizer,
        text_encoder_3=t5_encoder, tokenizer_3=t5_tokenizer,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_flux(folder: Path, *, guidance_embeds: bool = True, **settings: Any) -> Path:
    torch.manual_seed(0)
    tokenizer, vocabulary = clip(folder / "tokenizer")
    t5_tokenizer, t5_encoder = t5(folder / "tokenizer_2")
    sizes: dict[str, Any] = {
        "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 1,
        "joint_attention_dim": WIDTH, "pooled_projection_dim": 8, "axes_dims_rope": (2, 2, 4),
    }  # fmt: skip
    transformer = FluxTransformer2DModel(guidance_embeds=guidance_embeds, **sizes | settings)
    FluxPipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae(),
        text_encoder=text_encoder(vocabulary), tokenizer=tokenizer, text_encoder_2=t5_encoder, tokenizer_2=t5_tokenizer,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_pixart(folder: Path, *, sizes_given: bool = False, sigma: bool = False, **settings: Any) -> Path:
    """PixArt-α, as it was published first if it is given the images' sizes, or PixArt-Σ."""
    torch.manual_seed(0)
    t5_tokenizer, t5_encoder = t5(folder / "tokenizer")
    sizes: dict[str, Any] = {
        "num_attention_heads": 3, "attention_head_dim": 4, "in_channels": 4, "out_channels": 8, "num_layers": 1,
        "cross_attention_dim": 12, "sample_size": 128 if sizes_given else 8, "norm_num_groups": 4,
        "caption_channels": WIDTH,
    }  # fmt: skip
    kind = PixArtSigmaPipeline if sigma else PixArtAlphaPipeline
    kind(
        tokenizer=t5_tokenizer, text_encoder=t5_encoder, vae=autoencoder(),
        transformer=PixArtTransformer2DModel(**sizes | settings), scheduler=DDIMScheduler(**TRAILING),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_dit(folder: Path) -> Path:
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        num_attention_heads=3, attention_head_dim=4, in_channels=4, out_channels=8, num_layers=1, sample_size=SIDE // 2,
        patch_size=2,
    )  # fmt: skip
    DiTPipeline(transformer=transformer, vae=autoencoder(), scheduler=DDIMScheduler(**TRAILING)).save_pretrained(folder)
    return folder


def save_ldm(folder: Path) -> Path:
    torch.manual_seed(0)
    coder = VQModel(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, num_vq_embeddings=8,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=3, norm_num_groups=4, scaling_factor=0.7,
    )  # fmt: skip
    unet = UNet2DModel(
        sample_size=SIDE // 2, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    LDMPipeline(vqvae=coder, unet=unet, scheduler=DDIMScheduler(**TRAILING)).save_pretrained(folder)
    return folder
