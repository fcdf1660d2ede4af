"""A target trained by the authors' pytorch-ddpm code: its checkpoint, converted once into diffusers' layout."""

import logging
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from pytorch_lightning.loggers import Logger

from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.runtime import Runtime
from secmi_exp.store import Json, Key, Store, file_digest
from secmi_exp.targets.authors_format import FLAG_FILE, Flags, from_authors, read_flags
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.unconditional import Unconditional, refuse_other_images
from secmi_exp.targets.weights import read_pickled

log = logging.getLogger(__name__)

VERSION = 1
"""Of this conversion; raised when the same checkpoint would give other weights."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SecMICheckpoint:
    """A file with the state dicts ``net_model`` and ``ema_model``, and the flag file beside it."""

    name: str
    path: Path
    weights: Literal["ema", "net"]
    """The averaged weights, which the authors attack, or those that were last trained."""

    @cached_property
    def flags(self) -> Flags:
        """Those beside the checkpoint."""
        if not self.path.is_file():
            raise UserError(f"There is no checkpoint {self.path.absolute()}: set target.path to the authors' ckpt.pt.")
        return read_flags(self.path.parent / FLAG_FILE)

    @property
    def timesteps(self) -> int:
        """T of the flags."""
        return self.flags.T

    def prepare(self, members: Images, store: Store, runtime: Runtime, logger: Logger | None) -> PreparedTarget:
        """Convert, or find the conversion in the store.

        Raises:
            UserError: for a checkpoint that can't be read, that its flags contradict, or that takes other images.
        """
        refuse_other_images(self.flags.network, members, str(self.path))
        config: dict[str, Json] = {"flags": asdict(self.flags), "weights": self.weights}
        key = Key("target", VERSION, config, {"secmi_checkpoint": file_digest(self.path)})
        entry = store.obtain(key, self._convert)
        return PreparedTarget(entry.path, key.digest, load=partial(Unconditional, entry.path))

    def _convert(self, workspace: Path) -> None:
        checkpoint = read_pickled(self.path)
        part = f"{self.weights}_model"
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(part), dict):
            holds = ", ".join(map(str, checkpoint)) if isinstance(checkpoint, dict) else type(checkpoint).__name__
            raise UserError(f"{self.path} holds no {part}, but {holds}: is it a checkpoint of the authors' code?")
        network = UNet2DModel(**self.flags.network)
        network.load_state_dict(from_authors(checkpoint[part], self.flags, network.state_dict()))
        DDPMPipeline(unet=network, scheduler=DDPMScheduler(**self.flags.schedule)).save_pretrained(workspace)
        log.info("Converted %s (%s, %.2f M parameters).", self.path, part, network.num_parameters() / 1e6)
