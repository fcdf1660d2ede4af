"""A pixel-space pipeline in diffusers' layout, seen as a noise predictor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secmi_exp.data.model_range import to_input_range
from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor, times_of
from secmi_exp.diffusion.timesteps import TimeAxis
from secmi_exp.targets.loading.training_folder import WeightsChoice
from secmi_exp.targets.pixel.networks import evaluate
from secmi_exp.targets.pixel.pipeline_folder import PipelineFolder


class PixelPredictor(NoisePredictor):
    """A network in pixel space, with the path that the scheduler beside it describes.

    Its condition is ``label`` [B] where the network takes class labels.

    Args:
        folder: of a pipeline, or of a network alone; see `PipelineFolder`.
        input_range: the network's values for black and white.
        scheduler: settings of the scheduler for a network without one.
        weights: choice among a training's networks; see `PipelineFolder.from_path`.
        variant: of the weights; see `PipelineFolder.from_path`.
        axis: what a timestep means, where the path is continuous.
        guidance: w of classifier-free guidance away from the class ``negative_label``; 1: none.

    Raises:
        UserError: for a folder of another kind, and weights that can't be read or don't fit.
    """

    can_be_kept = True

    def __init__(
        self,
        folder: Path,
        input_range: tuple[float, float] = (-1.0, 1.0),
        scheduler: Mapping[str, Any] | None = None,
        weights: WeightsChoice = "auto",
        variant: str | None = None,
        axis: TimeAxis = "ddpm",
        guidance: float = 1.0,
    ):
        super().__init__()
        pipeline = PipelineFolder.from_path(folder, weights, variant)
        self.path, self.guidance = pipeline.diffusion_path(scheduler, axis), guidance
        self.unet = pipeline.load()
        self.input_range = input_range

    @property
    def network(self) -> nn.Module:
        """The network."""
        network: nn.Module = self.unet
        return network

    def encode(self, inputs: Tensor) -> Tensor:
        """Scale pixels to the network's input range, in float32, or in float64 where the network is."""
        return to_input_range(inputs, self.input_range).to(torch.promote_types(self.unet.dtype, torch.float32))

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        """See `NoisePredictor.evaluate`."""
        return evaluate(self.unet, x.to(self.unet.dtype), times_of(x, time), condition.get("label")).to(x.dtype)
