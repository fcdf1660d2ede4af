"""A pipeline of Stable Diffusion's kind as large as real ones, with random weights, that is queried quickly.

Its images have 16×16 pixels and its latents 8×8, so that nearly all of a run's time goes into its files.

python -m experiments.benchmarks.large_pipeline FOLDER GIGABYTES
"""

import sys
from itertools import count
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from secmi_exp.targets.text_to_image.byte_tokenizer import save_byte_tokenizer, vocabulary

SIDE = 16
"""Pixels of its images."""
TOKENS = 16
WIDTH = 64
"""Numbers of a token's embedding, for the U-Net."""
SHARES = {"unet": 0.8, "text_encoder": 0.2}
"""Part → its share of the bytes, about as in Stable Diffusion 1.5; the autoencoder is small."""


def unet(channels: int) -> UNet2DConditionModel:
    """With nearly all of its weights in convolutions on 4×4 latents."""
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, channels), layers_per_block=1, norm_num_groups=8, attention_head_dim=8,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
    )  # fmt: skip


def text_encoder(layers: int) -> CLIPTextModel:
    """With nearly all of its weights in wide layers."""
    size = len(vocabulary())
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=size, hidden_size=WIDTH, intermediate_size=16_384, num_hidden_layers=layers,
            num_attention_heads=2, max_position_embeddings=TOKENS,
            bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1,
        )
    )  # fmt: skip


def gigabytes(network: nn.Module) -> float:
    """Size of the weights, in 10⁹ bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) / 1e9


def filled(network: nn.Module) -> nn.Module:
    """Random weights in place of none; small ones, so that what a network makes of them stays finite."""
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.02, generator=generator)
    return network.eval()


def save_large_pipeline(folder: Path, size: float) -> None:
    """Save a pipeline of so many gigabytes, 10⁹ bytes each."""
    with torch.device("meta"):
        networks = (unet(channels) for channels in count(64, 64))
        denoiser = next(each for each in networks if gigabytes(each) >= SHARES["unet"] * size)
        layers = next(n for n in count(1) if gigabytes(text_encoder(n)) >= SHARES["text_encoder"] * size)
    encoder = text_encoder(layers)
    torch.manual_seed(0)
    save_byte_tokenizer(folder / "tokenizer", TOKENS)
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=[8, 8], down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2, latent_channels=4, norm_num_groups=4, sample_size=SIDE,
        ),
        unet=filled(denoiser), text_encoder=encoder,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


if __name__ == "__main__":
    save_large_pipeline(Path(sys.argv[1]), float(sys.argv[2]))
