"""The U-Net of a text-to-image pipeline, seen as a noise predictor in the space of its latents.

Source of guidance: Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022), equation 6 as diffusers writes it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder


class TextConditioned(NoisePredictor):
    """A `UNet2DConditionModel` that predicts ε, v or x_0, with the schedule stored beside it.

    Its condition is ``text`` [B, L, D], for SDXL also ``pooled`` [B, D₂], and with guidance both of the empty prompt as
    ``negative_text`` and ``negative_pooled``.

    Args:
        folder: of the pipeline.
        guidance: w of classifier-free guidance, ε_∅ + w (ε_c − ε_∅); 1: none, which costs one query instead of two.
        attention_slicing: diffusers' setting for little memory; None: off.

    Raises:
        UserError: for weights that can't be read or don't fit.
    """

    def __init__(self, folder: TextToImageFolder, guidance: float, attention_slicing: str | int | None = None):
        super().__init__()
        self.schedule = folder.schedule
        self.alphas_cumprod = self.schedule.alphas_cumprod
        self.unet = folder.unet()
        self.guidance, self.pixels_a_latent = guidance, folder.pixels_a_latent
        if attention_slicing is not None:
            self.unet.set_attention_slice(attention_slicing)

    @property
    def network(self) -> nn.Module:
        """The U-Net."""
        unet: nn.Module = self.unet
        return unet

    @property
    def evaluations(self) -> int:
        """With and without the prompt, where there is guidance."""
        return 1 if self.guidance == 1.0 else 2

    def encode(self, inputs: Tensor) -> Tensor:
        """Scaled latents as they are, in float32, or in float64 where the network is."""
        return inputs.to(torch.promote_types(self.unet.dtype, torch.float32))

    def _predict_noise(self, x_t: Tensor, t: int, condition: Condition) -> Tensor:
        return self.schedule.noise(self._guided(x_t, t, condition), x_t, t)

    def _predict_image(self, x_t: Tensor, t: int, condition: Condition) -> Tensor:
        return self.schedule.image(self._guided(x_t, t, condition), x_t, t)

    def _guided(self, x_t: Tensor, t: int, condition: Condition) -> Tensor:
        """What the U-Net predicts, led away from the empty prompt where there is guidance."""
        if self.guidance == 1.0:
            return self._output(x_t, t, condition["text"], condition.get("pooled"))
        text = torch.cat([condition["negative_text"], condition["text"]])
        pooled = torch.cat([condition["negative_pooled"], condition["pooled"]]) if "pooled" in condition else None
        empty, prompted = self._output(torch.cat([x_t, x_t]), t, text, pooled).chunk(2)
        return empty + self.guidance * (prompted - empty)

    def _output(self, x_t: Tensor, t: int, text: Tensor, pooled: Tensor | None) -> Tensor:
        dtype = self.unet.dtype
        times = torch.full((len(x_t),), t, device=x_t.device)  # made there: a number would be waited for
        added = None
        if pooled is not None:
            added = {"text_embeds": pooled.to(dtype), "time_ids": time_ids(x_t, self.pixels_a_latent).to(dtype)}
        output: Tensor = self.unet(
            x_t.to(dtype), times, encoder_hidden_states=text.to(dtype), added_cond_kwargs=added
        ).sample
        return output.to(x_t.dtype)


def time_ids(x_t: Tensor, pixels_a_latent: int) -> Tensor:
    """SDXL's condition on sizes: original and target size are the images' own, and nothing was cropped. [B, 6].

    Source: Podell et al., "SDXL" (2023), section 2.2, with the values that diffusers' pipeline has by default.

    >>> time_ids(torch.zeros(1, 4, 2, 3), 8).tolist()
    [[16, 24, 0, 0, 16, 24]]
    """
    height, width = (side * pixels_a_latent for side in x_t.shape[-2:])
    columns = [torch.full((len(x_t),), value, device=x_t.device) for value in (height, width, 0, 0, height, width)]
    return torch.stack(columns, dim=1)
