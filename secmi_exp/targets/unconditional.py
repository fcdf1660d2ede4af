"""An unconditional pixel-space pipeline in diffusers' layout, seen as a noise predictor."""

from pathlib import Path

from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor

from secmi_exp.data.images import to_model_range
from secmi_exp.diffusion.ddim import alphas_cumprod_from_betas
from secmi_exp.targets.interface import NoisePredictor


class Unconditional(NoisePredictor):
    """A `UNet2DModel` that predicts ε, with the schedule stored beside it.

    Args:
        folder: of a pipeline with ``unet`` (safetensors) and ``scheduler``.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.unet = UNet2DModel.from_pretrained(folder / "unet", use_safetensors=True, low_cpu_mem_usage=False).eval()
        scheduler = DDPMScheduler.from_pretrained(folder / "scheduler")
        self.alphas_cumprod = alphas_cumprod_from_betas(scheduler.betas).tolist()

    def encode(self, images: Tensor) -> Tensor:
        """Pixels in [−1, 1]."""
        return to_model_range(images).to(self.unet.dtype)

    def _predict_noise(self, x_t: Tensor, t: int) -> Tensor:
        noise: Tensor = self.unet(x_t, t).sample
        return noise
