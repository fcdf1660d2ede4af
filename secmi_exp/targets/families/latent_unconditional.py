"""Unconditional latent diffusion: a U-Net on the latents of a VQ-VAE.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (CVPR 2022), section 3.1: images
are encoded without quantization, which is the decoder's first layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from secmi_exp.errors import UserError
from secmi_exp.targets.loading.latent_folder import LatentFolder, Parts
from secmi_exp.targets.loading.model_file_schemas import UNet2D, VectorQuantizer
from secmi_exp.torch_on_use import Tensor, torch


class LatentUnconditionalFolder(LatentFolder):
    """A U-Net that takes latents and a timestep alone."""

    kinds: ClassVar[Mapping[str, Parts]] = {"LDMPipeline": {"vqvae": ("VQModel",), "unet": ("UNet2DModel",)}}
    coder = "vqvae"

    @property
    def autoencoder(self) -> VectorQuantizer:
        """See `LatentFolder.autoencoder`."""
        return self.description(self.coder, VectorQuantizer)

    def posterior(self, vae: Any, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `LatentFolder.posterior`; a VQ-VAE's is a point."""
        latents = vae.encode(images).latents
        return latents, torch.zeros_like(latents)

    def evaluate(self, network: Any, x: Tensor, times: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """See `LatentFolder.evaluate`."""
        output: Tensor = network(x, times).sample
        return output

    def refuse_other_denoisers(self) -> None:
        """Refuse a U-Net of other latents, or one that needs more.

        Raises:
            UserError: naming what.
        """
        unet = self.description(self.denoiser, UNet2D)
        self.refuse_other_channels(unet.in_channels, unet.out_channels)
        if unet.class_embed_type or unet.num_class_embeds:
            raise UserError(f"The U-Net in {self.path} needs class labels, which an LDMPipeline doesn't give it.")
