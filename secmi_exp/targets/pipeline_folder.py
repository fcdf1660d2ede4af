"""A diffusers folder on disk: description and weights of an unconditional pixel-space pipeline or of a U-Net alone."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel

from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.store import Json, Key, file_digest
from secmi_exp.targets.schedule import Schedule
from secmi_exp.targets.weights import read_json, reason, root, unreadable

# What diffusers warns of when weights don't fit is told here, as an error.
logging.getLogger("diffusers.models.modeling_utils").setLevel(logging.ERROR)

NETWORK_CONFIG = "config.json"
SCHEDULER_CONFIG = "scheduler_config.json"
PIPELINE_CONFIG = "model_index.json"
WEIGHTS = "diffusion_pytorch_model"
SUFFIXES = (".safetensors", ".bin")

VERSION = 1
"""Of how a folder is read; raised when the same files would predict other noise."""


@dataclass(frozen=True)
class PipelineFolder:
    """Where the network and its scheduler lie, and how they describe themselves."""

    path: Path
    network_path: Path
    network: UNet2DModel
    """Without weights: `blank_network`."""
    scheduler_path: Path | None
    """None where a network lies alone."""

    @classmethod
    def of(cls, path: Path) -> "PipelineFolder":
        """Read the descriptions; each part lies in a folder of its own, or directly in the pipeline's.

        Raises:
            UserError: for a folder that isn't there, and a pipeline or network of another kind.
        """
        if (path / PIPELINE_CONFIG).is_file():
            refuse_other_parts(read_json(path / PIPELINE_CONFIG), path)
        network = path / "unet" if (path / "unet").is_dir() else path
        if not (network / NETWORK_CONFIG).is_file():
            raise UserError(
                f"{path.absolute()} holds neither unet/{NETWORK_CONFIG} nor {NETWORK_CONFIG}: set target.path to the "
                "folder of a diffusers pipeline or U-Net."
            )
        config = read_json(network / NETWORK_CONFIG)
        kind = config.get("_class_name")
        if kind != UNet2DModel.__name__:
            raise UserError(f"The network in {network} is a {kind}: only an unconditional UNet2DModel can be attacked.")
        schedulers = (path / "scheduler" / SCHEDULER_CONFIG, path / SCHEDULER_CONFIG)
        return cls(
            path,
            network,
            blank_network(config, f"the network in {network}"),
            next(filter(Path.is_file, schedulers), None),
        )

    @property
    def _weights(self) -> Path | None:
        """The file that the network is read from, safetensors preferred."""
        files = (self.network_path / f"{WEIGHTS}{suffix}" for suffix in SUFFIXES)
        return next(filter(Path.is_file, files), None)

    def key(self, reading: Mapping[str, Json]) -> Key:
        """What decides the noise that is predicted.

        Args:
            reading: settings that the folder itself doesn't tell, such as the range of the pixels.
        """
        files = filter(None, (self.network_path / NETWORK_CONFIG, self.scheduler_path, self._weights))
        digests = {file.relative_to(self.path).as_posix(): file_digest(file) for file in files}
        return Key("pipeline_folder", VERSION, reading, digests)

    def schedule(self, alone: Mapping[str, Any] | None = None) -> Schedule:
        """The scheduler's ᾱ and prediction.

        Args:
            alone: configuration of the scheduler where a network lies alone.

        Raises:
            UserError: where there is neither, and as `Schedule.of` does.
        """
        config = read_json(self.scheduler_path) if self.scheduler_path else alone
        if config is None:
            raise UserError(
                f"{self.path.absolute()} holds no scheduler/{SCHEDULER_CONFIG}: put the one of its training there."
            )
        return Schedule.of(config)

    def load(self) -> UNet2DModel:
        """The network with its weights, in evaluation mode; pickled ones are read with ``weights_only``.

        Raises:
            UserError: for weights that can't be read, that are no mere weights, or that don't fit the description.
        """
        weights = self._weights
        if weights is None:
            raise UserError(f"{self.network_path.absolute()} holds no {WEIGHTS}.safetensors or .bin: add the weights.")
        try:
            network, found = UNet2DModel.from_pretrained(
                self.network_path,
                use_safetensors=weights.suffix == SUFFIXES[0],
                local_files_only=True,
                low_cpu_mem_usage=False,  # which would need accelerate
                ignore_mismatched_sizes=True,  # so that they are told like the others
                output_loading_info=True,
            )
        except Exception as error:  # diffusers, safetensors and torch each raise their own
            raise unreadable(weights, error) from error
        for what in ("missing", "unexpected", "mismatched"):
            for key in found[f"{what}_keys"]:
                name, *shapes = [key] if isinstance(key, str) else key
                detail = " has the shapes {} and {}".format(*map(list, shapes)) if shapes else f" is {what}"
                raise UserError(
                    f"The weights in {weights} contradict the {NETWORK_CONFIG} beside them: {name}{detail}; put the "
                    f"{NETWORK_CONFIG} of the same network there."
                )
        return network.eval()


def refuse_other_parts(index: Mapping[str, Any], path: Path) -> None:
    """Refuse a pipeline that is made of more than network and scheduler, such as a latent or a text-conditional one.

    Args:
        index: part → library and class, as ``model_index.json`` tells them; both None for what isn't there.
        path: of the pipeline, for the message.

    Raises:
        UserError: naming pipeline and part.
    """
    parts = {name: kind[1] for name, kind in index.items() if isinstance(kind, list) and len(kind) == 2 and kind[1]}
    others = [name for name in parts if name not in ("unet", "scheduler")]
    if others:
        raise UserError(
            f"The {index.get('_class_name')} in {path} also has a {others[0]} ({parts[others[0]]}): only an "
            "unconditional pipeline in pixel space, of unet and scheduler alone, can be attacked."
        )


def blank_network(config: Mapping[str, Any], what: str) -> UNet2DModel:
    """A network of this configuration on the meta device: shapes without memory.

    Args:
        config: arguments of `UNet2DModel`.
        what: that is, for the message.

    Raises:
        UserError: where diffusers refuses the configuration, and for a network that needs a class or predicts something
            else than an image.
    """
    try:
        with torch.device("meta"):
            network = UNet2DModel.from_config(dict(config))
    except Exception as error:  # whatever its layers raise for arguments that they can't take
        raise UserError(f"diffusers refuses {what}: {reason(root(error))}.") from error
    if network.class_embedding is not None:
        raise UserError(f"Classes must be given to {what}: only an unconditional UNet2DModel can be attacked.")
    channels, predicted = network.config.in_channels, network.config.out_channels
    if predicted not in (channels, 2 * channels):
        raise UserError(
            f"With in_channels={channels} and out_channels={predicted}, {what} predicts no noise: it must have as many "
            "output channels, or twice as many where it predicts the variance too."
        )
    return network


def refuse_other_images(network: UNet2DModel, images: Images, what: str) -> None:
    """Compare what a network takes with what the dataset gives.

    Args:
        network: with or without weights.
        images: that it is going to see.
        what: the network is, for the message.

    Raises:
        UserError: with both shapes.
    """
    channels, height, width = images.shape
    size, divisor = network.config.sample_size, 2 ** (len(network.config.block_out_channels) - 1)
    sides = (size, size) if isinstance(size, int) else tuple(size or (height, width))
    given = f"the dataset's images have {channels} channels and {height}×{width} pixels"
    if (network.config.in_channels, *sides) != images.shape:
        raise UserError(
            f"{what} takes images of {network.config.in_channels} channels and {'×'.join(map(str, sides))} pixels, and "
            f"{given}: set dataset.channels and dataset.image_size to the network's."
        )
    if height % divisor or width % divisor:
        raise UserError(
            f"{what} halves its images {len(network.config.block_out_channels) - 1} times, and {given}: set "
            f"dataset.image_size to a multiple of {divisor}."
        )
