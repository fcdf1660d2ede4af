"""A target in diffusers' layout that was trained elsewhere: a folder on disk, or a repository on the hub."""

import hashlib
import json
import logging
import re
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from pytorch_lightning.loggers import Logger

from secmi_exp.data.images import Images
from secmi_exp.diffusion.ddim import Prediction
from secmi_exp.errors import UserError
from secmi_exp.runtime import Runtime
from secmi_exp.store import Store, file_digest
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.schedule import NoiseSchedule, Schedule
from secmi_exp.targets.unconditional import Parts, Unconditional, refuse_other_images
from secmi_exp.targets.weights import first_line

log = logging.getLogger(__name__)

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
READ = [f"{folder}{name}" for folder in ("", "unet/", "scheduler/") for name in ("*.json", "*.safetensors", "*.bin")]
"""Of a hub's repository: what is downloaded. Nothing of it is executed."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DiffusersFolder:
    """An unconditional pipeline, or a `UNet2DModel` alone."""

    name: str
    path: str
    """A folder, or the id of a repository on the hub."""
    input_range: tuple[float, float]
    """What black and white are for the network."""
    schedule: NoiseSchedule
    """Of a network alone."""
    prediction_type: Prediction
    """Of a network alone."""

    @cached_property
    def folder(self) -> Path:
        """Where it lies on disk, downloaded where it has to be."""
        folder = Path(self.path)
        if folder.is_dir() or not HUB_ID.fullmatch(self.path):
            return folder
        try:
            return Path(snapshot_download(self.path, allow_patterns=READ))
        except Exception as error:  # the hub's client raises those of several libraries
            raise UserError(
                f"There is no folder {folder.absolute()}, and the hub gives no {self.path} ({first_line(error)})."
            ) from error

    @cached_property
    def parts(self) -> Parts:
        """Network and scheduler."""
        return Parts.of(self.folder)

    @cached_property
    def scheduler_config(self) -> dict[str, Any]:
        """The pipeline's own, or, of a network alone, the one of this configuration."""
        own = self.parts.scheduler_config()
        if own is not None:
            return own
        log.info(
            "No scheduler lies beside the network: assuming target.schedule and target.prediction_type (%s, T=%d, %s).",
            self.schedule.beta_schedule, self.schedule.num_train_timesteps, self.prediction_type,
        )  # fmt: skip
        return {"_class_name": "DDPMScheduler", **asdict(self.schedule), "prediction_type": self.prediction_type}

    @property
    def timesteps(self) -> int:
        """T of the scheduler."""
        return len(Schedule.of(self.scheduler_config).alphas_cumprod)

    def prepare(self, members: Images, store: Store, runtime: Runtime, logger: Logger | None) -> PreparedTarget:
        """Use it where it lies.

        Raises:
            UserError: for a folder that holds no such network, or one that takes other images.
        """
        refuse_other_images(self.parts.network_config(), members, self.path)
        suffixes = (".json", ".safetensors", ".bin")
        content = {file.name: file_digest(file) for file in self.parts.network.iterdir() if file.suffix in suffixes}
        decided_by = [content, self.scheduler_config, self.input_range]
        digest = hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()[:32]
        load = partial(Unconditional, self.folder, self.scheduler_config, self.input_range)
        return PreparedTarget(self.folder, digest, load)
