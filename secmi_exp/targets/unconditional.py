"""An unconditional pixel-space network in diffusers' layout, with its scheduler, seen as a noise predictor."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import UNet2DModel
from torch import Tensor

from secmi_exp.data.images import Images, to_model_range
from secmi_exp.diffusion.ddim import noise_from
from secmi_exp.errors import UserError
from secmi_exp.targets.interface import NoisePredictor
from secmi_exp.targets.schedule import Schedule
from secmi_exp.targets.weights import first_line, read_pickled

logging.getLogger("diffusers.models.modeling_utils").setLevel(logging.ERROR)  # what it warns of is told here

NETWORK = "UNet2DModel"
NEEDED = f"an unconditional pixel-space pipeline, or a {NETWORK} alone, is needed"


@dataclass(frozen=True)
class Parts:
    """Where network and scheduler lie in a folder."""

    network: Path
    """Folder of its config.json and weights."""
    scheduler: Path | None
    """Its configuration; None for a network alone."""

    @classmethod
    def of(cls, folder: Path) -> "Parts":
        """Of a pipeline, or of a network alone.

        Raises:
            UserError: for a folder that is neither, or holds another kind of network.
        """
        if (folder / "model_index.json").is_file():
            components = read_json(folder / "model_index.json")
            latent = [name for name in ("vae", "vqvae") if components.get(name)]
            if latent or "unet" not in components:
                what = f"a latent space ({latent[0]})" if latent else "no unet"
                raise UserError(f"The {components.get('_class_name')} in {folder} has {what}: {NEEDED}.")
        network = folder / "unet" if (folder / "unet").is_dir() else folder  # the oldest pipelines have no folders
        schedulers = [folder / "scheduler/scheduler_config.json", folder / "scheduler_config.json"]
        parts = cls(network, next((file for file in schedulers if file.is_file()), None))
        if not (parts.network / "config.json").is_file():
            raise UserError(f"{folder.absolute()} has neither a model_index.json nor a config.json: {NEEDED}.")
        config = parts.network_config()
        if config.get("_class_name") != NETWORK:
            raise UserError(f"The network in {parts.network} is a {config.get('_class_name')}: {NEEDED}.")
        if config.get("num_class_embeds") or config.get("class_embed_type"):
            raise UserError(f"The network in {parts.network} is conditional on classes: {NEEDED}.")
        return parts

    def network_config(self) -> dict[str, Any]:
        """Arguments of the network."""
        return read_json(self.network / "config.json")

    def scheduler_config(self) -> dict[str, Any] | None:
        """Arguments of the scheduler."""
        return read_json(self.scheduler) if self.scheduler else None


def read_json(path: Path) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        UserError: for anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({first_line(error)}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__} where settings are expected.")
    return content


class Unconditional(NoisePredictor):
    """A `UNet2DModel` and the schedule that it was trained with.

    Args:
        folder: of a pipeline, or of a network alone.
        scheduler: configuration of the scheduler; None: the one in the folder.
        input_range: the values that black and white have for the network.

    Raises:
        UserError: for weights that can't be read or don't fit.
    """

    def __init__(
        self, folder: Path, scheduler: Mapping[str, Any] | None = None, input_range: tuple[float, float] = (-1.0, 1.0)
    ):
        super().__init__()
        parts = Parts.of(folder)
        schedule = Schedule.of(scheduler or parts.scheduler_config() or {})
        self.alphas_cumprod, self.prediction = schedule.alphas_cumprod, schedule.prediction
        self.low, self.high = input_range
        self.unet = read_network(parts.network)

    def encode(self, images: Tensor) -> Tensor:
        """Pixels in the network's input range."""
        return to_model_range(images, self.low, self.high).to(self.unet.dtype)

    def _predict_noise(self, x_t: Tensor, t: int) -> Tensor:
        """The noise; a network that predicts a variance too has it in the second half of the channels."""
        prediction: Tensor = self.unet(x_t, t).sample[:, : x_t.shape[1]]
        return noise_from(prediction, self.prediction, x_t, self.alphas_cumprod[t])


def read_network(folder: Path) -> UNet2DModel:
    """The network in a folder, safetensors preferred; pickled weights are read by diffusers with ``weights_only``.

    Raises:
        UserError: for weights that are missing, superfluous, of another shape, damaged, or no mere weights.
    """
    safetensors = any(folder.glob("*.safetensors"))
    if not safetensors:
        for file in folder.glob("*.bin"):
            read_pickled(file)  # says why it refuses, where diffusers, which reads it again, only says that it failed
    try:
        network, found = UNet2DModel.from_pretrained(
            folder,
            use_safetensors=safetensors,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except Exception as error:  # diffusers, safetensors and torch each raise their own
        raise UserError(f"The network in {folder} can't be read ({first_line(error)}).") from error
    for what in ("missing", "unexpected"):
        names = found[f"{what}_keys"]
        if names:
            raise UserError(
                f"The weights in {folder} don't fit its config.json: {len(names)} {what}, such as {names[0]}."
            )
    network.eval()
    return network


def refuse_other_images(network: Mapping[str, Any], images: Images, name: str) -> None:
    """Compare a network's configuration with the images.

    Args:
        network: arguments of `UNet2DModel`.
        images: what it is going to be attacked with.
        name: of the network, for the message.

    Raises:
        UserError: with both shapes.
    """
    side = network.get("sample_size") or images.shape[1:]
    height, width = (side, side) if isinstance(side, int) else side
    expected = (network["in_channels"], height, width)
    if images.shape != expected:
        raise UserError(
            f"The network {name} takes images of shape {expected} (channels, height, width), and the dataset has "
            f"{images.shape}: set dataset.channels and dataset.image_size."
        )
