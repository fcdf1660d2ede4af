"""A diffusers folder on disk: description and weights of an unconditional pixel-space pipeline or of a U-Net alone."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
from diffusers import UNet2DModel

from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import warn
from secmi_exp.store import Json, Key
from secmi_exp.targets.loading.blank_networks import network_without_memory
from secmi_exp.targets.loading.file_kind import refuse_file, refuse_strange_folder
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import PipelineIndex
from secmi_exp.targets.loading.model_folder import CONFIG, ModelFolder, content_digest, warn_of_choices
from secmi_exp.targets.loading.training_folder import (
    EMA_SETTINGS,
    PIPELINE_CONFIG,
    SCHEDULER_CONFIG,
    ChosenNetwork,
    WeightsChoice,
    choose_network,
    file_names,
    scheduler_file,
)
from secmi_exp.targets.loading.weights import read_json
from secmi_exp.targets.schedule import Schedule

VERSION = 1
"""Of how a folder is read; raised when the same files would predict other noise."""


@dataclass(frozen=True)
class PipelineFolder:
    """Where the network and its scheduler lie, and how they describe themselves."""

    path: Path
    chosen: ChosenNetwork
    model: ModelFolder
    network: UNet2DModel
    """Without weights: `blank_network`."""
    scheduler_path: Path | None
    """None where a network lies alone."""

    @classmethod
    def of(cls, path: Path, weights: WeightsChoice = "auto", variant: str | None = None) -> "PipelineFolder":
        """Read the descriptions; each part lies in a folder of its own, or directly in the pipeline's.

        Args:
            path: of a pipeline, of a training's checkpoint, or of a U-Net alone.
            weights: see `choose_network`.
            variant: see `choose_weights`.

        Raises:
            UserError: for a folder that isn't there, a pipeline or network of another kind, and weights that aren't
                there or of which it isn't clear which are meant.
        """
        refuse_file(path)
        if (path / PIPELINE_CONFIG).is_file():
            index = read_json(path / PIPELINE_CONFIG)
            checked(PipelineIndex, index, path / PIPELINE_CONFIG)
            refuse_other_parts(index, path)
        chosen = choose_network(file_names(path), weights, str(path))
        folder = path / chosen.folder
        if not (folder / CONFIG).is_file():
            refuse_strange_folder(path)
            raise UserError(
                f"{path.absolute()} holds neither unet/{CONFIG} nor {CONFIG}: set target.path to the "
                "folder of a diffusers pipeline or U-Net."
            )
        model = ModelFolder(folder, "diffusers", variant)
        config = model.config
        kind = config.get("_class_name")
        if kind != UNet2DModel.__name__:
            raise UserError(f"The network in {folder} is a {kind}: only an unconditional UNet2DModel can be attacked.")
        return cls(path, chosen, model, blank_network(config, f"the network in {folder}"), scheduler_file(path))

    def warn_of_choices(self) -> None:
        """Tell what was taken where there was a choice that the user hasn't made."""
        self.chosen.warn(self.path)
        warn_of_choices(self.path, [self.model])
        if self.scheduler_path and not self.scheduler_path.is_relative_to(self.path):
            warn(
                "schedule_elsewhere",
                f"{self.path} has no {SCHEDULER_CONFIG}, and the one of {self.scheduler_path.parent} is taken, where a "
                "training leaves it; unless the network was trained with it, its t-errors are wrong.",
            )
        known = {*inspect.signature(UNet2DModel.__init__).parameters, *EMA_SETTINGS}
        unknown = [name for name in self.model.config if name not in known and not name.startswith("_")]
        if unknown:
            warn(
                "network_settings_unknown",
                f"diffusers {diffusers.__version__} leaves out what it doesn't know of the description in "
                f"{self.model.path}: {', '.join(unknown)}; if the network needs it, its t-errors are wrong.",
            )

    def key(self, reading: Mapping[str, Json]) -> Key:
        """What decides the noise that is predicted.

        Args:
            reading: settings that the folder itself doesn't tell, such as the range of the pixels.
        """
        files = [*self.model.files, *([self.scheduler_path] if self.scheduler_path else [])]
        digests = {Path(os.path.relpath(file, self.path)).as_posix(): content_digest(file) for file in files}
        return Key("pipeline_folder", VERSION, reading, digests)

    def schedule(self, alone: Mapping[str, Any] | None = None) -> Schedule:
        """The scheduler's ᾱ and prediction.

        Args:
            alone: configuration of the scheduler where a network lies alone.

        Raises:
            UserError: where there is neither, and as `Schedule.of` does.
        """
        if self.scheduler_path:
            return Schedule.of(read_json(self.scheduler_path), self.scheduler_path)
        if alone is None:
            raise UserError(
                f"{self.path.absolute()} holds no scheduler/{SCHEDULER_CONFIG}: put the one of its training there."
            )
        return Schedule.of(alone, "target.schedule")

    def refuse_unusable(self) -> None:
        """Compare the network with its weights, and try it once; see `ModelFolder.refuse_unusable`."""
        self.model.refuse_unusable(UNet2DModel)

    def load(self) -> UNet2DModel:
        """The network with its weights; see `ModelFolder.load`."""
        network: UNet2DModel = self.model.load(UNet2DModel)
        return network


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
    network: UNet2DModel = network_without_memory(UNet2DModel, config, what)
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
