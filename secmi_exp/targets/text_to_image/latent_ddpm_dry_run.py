"""The networks and optimizers of a small latent diffusion model, tried without memory; see `network_trial`."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from secmi_exp.targets.dry_run.networks import BATCH, Shape, try_network
from secmi_exp.targets.dry_run.optimizers import try_optimizer
from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.text_to_image.byte_tokenizer import vocabulary
from secmi_exp.targets.text_to_image.latent_ddpm import LatentDDPM
from secmi_exp.targets.text_to_image.latent_ddpm_training import text_settings
from secmi_exp.targets.text_to_image.unet_training import add_adapter


def try_latent_ddpm(recipe: LatentDDPM, images: Shape) -> None:
    """Build autoencoder, text encoder and U-Net, and hand a prediction's inputs from one to the next.

    Raises:
        UserError: naming the setting that doesn't do.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def reconstruct(vae: AutoencoderKL) -> None:
        z = vae.encode(torch.empty(BATCH, *images)).latent_dist.mean
        vae.decode(z)
        shapes["latents"] = tuple(z.shape)

    def make_vae(settings: Settings) -> AutoencoderKL:
        return AutoencoderKL(**settings)

    try_network("diffusers", "target.autoencoder", recipe.autoencoder, AutoencoderKL, make_vae, reconstruct)

    def encode(text_encoder: CLIPTextModel) -> None:
        tokens = torch.zeros(BATCH, recipe.tokens, dtype=torch.long)
        shapes["text"] = tuple(text_encoder(tokens).last_hidden_state.shape)

    def make_text_encoder(settings: Settings) -> CLIPTextModel:
        return CLIPTextModel(CLIPTextConfig(**text_settings(settings, recipe.tokens, len(vocabulary()))))

    try_network("transformers", "target.text_encoder", recipe.text_encoder, CLIPTextConfig, make_text_encoder, encode)

    def predict(unet: UNet2DConditionModel) -> None:
        text: Tensor = torch.empty(*shapes["text"])
        unet(torch.empty(*shapes["latents"]), torch.zeros(BATCH, dtype=torch.long), encoder_hidden_states=text)
        if recipe.training.lora:
            add_adapter(unet, recipe.training.lora)

    def make_unet(settings: Settings) -> UNet2DConditionModel:
        return UNet2DConditionModel(**settings | {"cross_attention_dim": shapes["text"][-1]})

    try_network("diffusers", "target.network", recipe.network, UNet2DConditionModel, make_unet, predict)
    try_optimizer(recipe.autoencoder_training.optimizer, "target.autoencoder_training.optimizer")
    try_optimizer(recipe.training.optimizer, "target.training.optimizer")
