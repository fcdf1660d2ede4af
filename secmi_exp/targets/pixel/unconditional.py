"""An unconditional pixel-space pipeline in diffusers' layout, seen as a noise predictor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secmi_exp.data.images import to_model_range
from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor
from secmi_exp.targets.loading.training_folder import WeightsChoice
from secmi_exp.targets.pixel.pipeline_folder import PipelineFolder


class Unconditional(NoisePredictor):
    """A `UNet2DModel` that predicts ε, v or x_0, with the schedule stored beside it.

    Args:
        folder: of a pipeline, or of a network alone; see `PipelineFolder`.
        input_range: the values that black and white have for the network.
        scheduler: configuration of the scheduler where a network lies alone.
        weights: which of a training's networks; see `PipelineFolder.of`.
        variant: of the weights; see `PipelineFolder.of`.

    Raises:
        UserError: for a folder of another kind, and weights that can't be read or don't fit.
    """

    def __init__(
        self,
        folder: Path,
        input_range: tuple[float, float] = (-1.0, 1.0),
        scheduler: Mapping[str, Any] | None = None,
        weights: WeightsChoice = "auto",
        variant: str | None = None,
    ):
        super().__init__()
        pipeline = PipelineFolder.of(folder, weights, variant)
        self.schedule = pipeline.schedule(scheduler)
        self.alphas_cumprod = self.schedule.alphas_cumprod
        self.unet = pipeline.load()
        self.input_range = input_range

    @property
    def network(self) -> nn.Module:
        """The U-Net."""
        unet: nn.Module = self.unet
        return unet

    def encode(self, inputs: Tensor) -> Tensor:
        """Pixels in the network's input range, in float32, or in float64 where the network is."""
        black, white = self.input_range
        middle, half = (white + black) / 2, (white - black) / 2
        return (to_model_range(inputs) * half + middle).to(torch.promote_types(self.unet.dtype, torch.float32))

    def _predict_noise(self, x_t: Tensor, t: int, condition: Condition) -> Tensor:
        return self.schedule.noise(self._output(x_t, t), x_t, t)

    def _predict_image(self, x_t: Tensor, t: int, condition: Condition) -> Tensor:
        return self.schedule.image(self._output(x_t, t), x_t, t)

    def _output(self, x_t: Tensor, t: int) -> Tensor:
        """What it predicts; a variance that makes up the second half of the channels is left out."""
        times = torch.full(
            (len(x_t),), t, device=x_t.device
        )  # made there: a number would be waited for, or compiled in
        output: Tensor = self.unet(x_t.to(self.unet.dtype), times).sample[:, : x_t.shape[1]]
        return output.to(x_t.dtype)
