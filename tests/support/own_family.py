"""A family of pipelines as a third party adds it: this file, and a YAML file that names its class.

Its pipelines have a U-Net on the latents of the small autoencoder that diffusers has for previews, and an index that
names a class that nobody else knows.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from secmi_exp.targets.loading.latent_folder import LatentFolder, Parts
from secmi_exp.targets.loading.model_file_schemas import UNet2D


class PreviewLatents(LatentFolder):
    """A U-Net on the latents of an `AutoencoderTiny`."""

    kinds: ClassVar[Mapping[str, Parts]] = {"PreviewPipeline": {"vae": ("AutoencoderTiny",), "unet": ("UNet2DModel",)}}

    def posterior(self, vae: Any, images: Tensor) -> tuple[Tensor, Tensor]:
        latents = vae.encode(images).latents
        return latents, torch.zeros_like(latents)

    def evaluate(self, network: Any, x: Tensor, times: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        noise: Tensor = network(x, times).sample
        return noise

    def refuse_other_denoisers(self) -> None:
        unet = self.description("unet", UNet2D)
        self.refuse_other_channels(unet.in_channels, unet.out_channels)
