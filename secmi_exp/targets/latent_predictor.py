"""The denoiser of a latent pipeline of any family, seen as a noise predictor in the space of its latents.

Source of guidance: Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022), equation 6 as diffusers writes it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor, times_of
from secmi_exp.targets.loading.latent_folder import LatentFolder


class LatentPredictor(NoisePredictor):
    """A network on latents, with the path that the scheduler beside it describes.

    Its condition is what the family takes, such as the embedding of a prompt, and with guidance the same of the empty
    prompt after ``negative_``.

    Args:
        folder: of the pipeline.
        guidance: w of classifier-free guidance, ε_∅ + w (ε_c − ε_∅); 1: none, which costs one query instead of two.
            Where the denoiser gets the guidance as an input, that input.
        attention_slicing: diffusers' setting for little memory; None: off.

    Raises:
        UserError: for weights that can't be read or don't fit.
    """

    can_be_kept = True

    def __init__(self, folder: LatentFolder, guidance: float = 1.0, attention_slicing: str | int | None = None):
        super().__init__()
        self.folder, self.path = folder, folder.diffusion_path
        self.denoiser: Any = folder.load_denoiser()
        self.embedded_guidance = guidance if folder.embeds_guidance else None
        self.guidance = 1.0 if folder.embeds_guidance else guidance
        if attention_slicing is not None:
            self.denoiser.set_attention_slice(attention_slicing)

    @property
    def network(self) -> nn.Module:
        """The denoiser."""
        network: nn.Module = self.denoiser
        return network

    def encode(self, inputs: Tensor) -> Tensor:
        """Return scaled latents as they are, in float32, or in float64 where the network is."""
        return inputs.to(torch.promote_types(self.denoiser.dtype, torch.float32))

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        """See `NoisePredictor.evaluate` and `LatentFolder.evaluate`."""
        dtype, times = self.denoiser.dtype, times_of(x, time)
        given = {name: each.to(dtype) if each.is_floating_point() else each for name, each in condition.items()}
        if self.embedded_guidance is not None:
            given["guidance"] = times_of(x, self.embedded_guidance)
        return self.folder.evaluate(self.denoiser, x.to(dtype), times, given).to(x.dtype)
