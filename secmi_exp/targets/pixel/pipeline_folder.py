"""A diffusers folder on disk: description and weights of a pixel-space pipeline or of its network alone."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.diffusion.timesteps import TimeAxis, Timesteps
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import warn
from secmi_exp.store import FileDigest, Key, file_digest
from secmi_exp.targets.loading.file_kind import refuse_file, refuse_strange_folder
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.libraries import network_class
from secmi_exp.targets.loading.model_file_schemas import PipelineIndex
from secmi_exp.targets.loading.model_folder import CONFIG, ModelFolder, content_digest, warn_of_choices
from secmi_exp.targets.loading.scheduler_path import path_of_scheduler, timesteps_of_scheduler
from secmi_exp.targets.loading.settings_files import read_json
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
from secmi_exp.targets.pixel.networks import SCHEMAS, Description, refuse_other_networks

VERSION = 1
"""Version of the reading; raised when the same files would predict other noise."""


@dataclass(frozen=True)
class PipelineFolder:
    """Places and descriptions of a network and its scheduler."""

    path: Path
    chosen: ChosenNetwork
    model: ModelFolder
    kind: str
    """Class of the network, in diffusers."""
    network: Description
    scheduler_path: Path | None
    """None for a network without a scheduler."""

    @classmethod
    def from_path(cls, path: Path, weights: WeightsChoice = "auto", variant: str | None = None) -> "PipelineFolder":
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
        kind = str(config.get("_class_name"))
        if kind not in SCHEMAS:
            raise UserError(f"The network in {folder} is a {kind}: it must be one of {', '.join(SCHEMAS)}.")
        network = checked(SCHEMAS[kind], config, folder / CONFIG)
        refuse_other_networks(network, f"the network in {folder}")
        return cls(path, chosen, model, kind, network, scheduler_file(path))

    def warn_of_choices(self) -> None:
        """Warn of what was chosen without the user's word, and of settings that diffusers doesn't know."""
        self.chosen.warn(self.path)
        warn_of_choices(self.path, [self.model])
        if self.scheduler_path and not self.scheduler_path.is_relative_to(self.path):
            warn(
                "schedule_elsewhere",
                f"{self.path} has no {SCHEDULER_CONFIG}, so that the one in {self.scheduler_path.parent} is taken, "
                "where a training leaves it; unless the network was trained with it, its t-errors are wrong.",
            )
        known = {*inspect.signature(network_class("diffusers", self.kind).__init__).parameters, *EMA_SETTINGS}
        unknown = [name for name in self.model.config if name not in known and not name.startswith("_")]
        if unknown:
            warn(
                "network_settings_unknown",
                f"diffusers {version('diffusers')} ignores the settings {', '.join(unknown)} in "
                f"{self.model.path / CONFIG}, unknown to it; if the network needs them, its t-errors are wrong.",
            )

    def key(self, reading: Mapping[str, Json], digest: FileDigest = file_digest) -> Key:
        """Return the key of what decides the predicted noise.

        Args:
            reading: settings that aren't in the folder, such as the range of the pixels.
            digest: of a file.
        """
        files = [*self.model.files, *([self.scheduler_path] if self.scheduler_path else [])]
        digests = {Path(os.path.relpath(file, self.path)).as_posix(): content_digest(file, digest) for file in files}
        return Key("pipeline_folder", VERSION, reading, digests)

    def diffusion_path(self, alone: Mapping[str, Any] | None = None, axis: TimeAxis = "ddpm") -> GaussianPath:
        """Return the scheduler's path.

        Args:
            alone: configuration of the scheduler for a network without one.
            axis: what a timestep means, where the path is continuous.

        Raises:
            UserError: where there is neither, and as `path_of_scheduler` does.
        """
        return path_of_scheduler(*self._scheduler(alone), axis)

    def timesteps(self, alone: Mapping[str, Any] | None = None, axis: TimeAxis = "ddpm") -> Timesteps:
        """Return the timesteps of `diffusion_path`."""
        return timesteps_of_scheduler(*self._scheduler(alone), axis)

    def _scheduler(self, alone: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], Path | str]:
        """Settings of the scheduler, and where they come from."""
        if self.scheduler_path:
            return read_json(self.scheduler_path), self.scheduler_path
        if alone is None:
            raise UserError(
                f"{self.path.absolute()} holds no scheduler/{SCHEDULER_CONFIG}: put the one of its training there."
            )
        return alone, "target.schedule"

    def refuse_unusable(self) -> None:
        """Compare the network with its weights, and evaluate it once; see `ModelFolder.refuse_unusable`."""
        self.model.refuse_unusable(self.kind)

    def load(self) -> Any:
        """Load the network with its weights; see `ModelFolder.load`."""
        return self.model.load(self.kind)


def refuse_other_parts(index: Mapping[str, Any], path: Path) -> None:
    """Refuse a pipeline with more parts than network and scheduler, such as a latent or a text-conditional one.

    Args:
        index: content of ``model_index.json``: part → library and class, both None for what isn't there.
        path: folder of the pipeline, for the message.

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
