"""A target trained by the authors' pytorch-ddpm code: its checkpoint, converted once into a diffusers pipeline."""

import logging
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import warn
from secmi_exp.store import Json, Key, Store, file_digest
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PIXEL_PIPELINE_FILES, PreparedTarget
from secmi_exp.targets.loading.file_kind import foreign_kind
from secmi_exp.targets.loading.weights import read_pickled, refuse_non_finite_weights
from secmi_exp.targets.pixel.authors_format import FLAG_FILE, Flags, from_authors, read_flags
from secmi_exp.targets.pixel.pipeline_folder import blank_network, refuse_other_images
from secmi_exp.targets.pixel.unconditional import Unconditional
from secmi_exp.targets.schedule import Schedule

log = logging.getLogger(__name__)

VERSION = 1
"""Of the conversion; raised when the same checkpoint would give another network."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SecMICheckpoint:
    """A file with the state dicts ``net_model`` and ``ema_model``; the flag file lies beside it."""

    uses_captions: ClassVar[bool] = False

    name: str
    path: Path
    weights: Literal["ema", "net"]

    @cached_property
    def flags(self) -> Flags:
        """Those that the checkpoint was trained with.

        Raises:
            UserError: where the checkpoint isn't there or is something else, and as `read_flags` does.
        """
        refuse_other_files(self.path)
        return read_flags(self.path.with_name(FLAG_FILE))

    @property
    def timesteps(self) -> Timesteps:
        """Of the flags."""
        return Schedule.of({"_class_name": DDPMScheduler.__name__, **self.flags.scheduler}).timesteps

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Convert the checkpoint, or find the conversion in the store.

        Raises:
            UserError: for images of another shape, and a checkpoint that can't be read or contradicts its flags.
        """
        network = blank_network(self.flags.network, f"the network of {self.path.with_name(FLAG_FILE)}")
        refuse_other_images(network, members, f"The network of {self.path}")
        if self.flags.mean_type != "epsilon":
            warn(
                "mean_type_ignored",
                f"The flag --mean_type={self.flags.mean_type} of {self.path.with_name(FLAG_FILE)} is ignored: the "
                "authors' trainer fits the noise whatever it says; of a trainer that was changed to follow it, the "
                "t-errors are wrong.",
            )
        flags = asdict(self.flags) | {"mean_type": "epsilon"}  # as it is read
        config: dict[str, Json] = {"weights": self.weights, "flags": flags, **outside_classes(target=self)}
        key = Key("target", VERSION, config, {"secmi_checkpoint": file_digest(self.path)}, files=PIXEL_PIPELINE_FILES)
        entry = store.get_or_build(key, partial(self._convert, network))
        return PreparedTarget(entry.path, key, load=partial(Unconditional, entry.path))

    def _convert(self, network: UNet2DModel, workspace: Path) -> None:
        theirs = read_state_dict(self.path, f"{self.weights}_model")
        weights = from_authors(theirs, self.flags, network, self.path)
        refuse_non_finite_weights(weights, self.path)
        network.load_state_dict(weights, assign=True)
        DDPMPipeline(unet=network, scheduler=DDPMScheduler(**self.flags.scheduler)).save_pretrained(workspace)
        log.info(
            "Converted %s of %s: %.2f M parameters, %s.",
            self.weights, self.path, network.num_parameters(exclude_embeddings=True) / 1e6, self.flags,
        )  # fmt: skip


def refuse_other_files(path: Path) -> None:
    """Refuse what is no file of `torch.save`.

    Raises:
        UserError: saying what it is.
    """
    if path.is_dir():
        raise UserError(
            f"target.path={path} is a folder: set it to the checkpoint in it, such as ckpt.pt, or target=diffusers for "
            "a model in diffusers' layout."
        )
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path.absolute()}: set target.path to the authors' ckpt.pt.")
    kind = foreign_kind(path)
    if kind:
        raise UserError(f"target.path={path} is no checkpoint of the authors' code but {kind.what}: {kind.advice}.")


def read_state_dict(path: Path, name: str) -> dict[str, Any]:
    """One of a checkpoint's state dicts.

    Raises:
        UserError: for a file that can't be read, or has no such state dict.
    """
    checkpoint = read_pickled(path)
    if not isinstance(checkpoint, dict):
        raise UserError(
            f"{path} holds a {type(checkpoint).__name__} instead of a checkpoint with {name}: is it the right file?"
        )
    weights = checkpoint.get(name)
    if not isinstance(weights, dict):
        keys = ", ".join(map(str, list(checkpoint)[:8]))
        raise UserError(
            f"{path} has no {name} but {keys}: set target.path to a checkpoint of the authors' pytorch-ddpm."
        )
    return weights
