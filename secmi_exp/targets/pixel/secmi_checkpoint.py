"""A target trained by the authors' pytorch-ddpm code: its checkpoint, converted once into a diffusers pipeline."""

from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import warn
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PIXEL_PIPELINE_FILES, InputSpace, PreparedTarget
from secmi_exp.targets.loading.file_kind import foreign_kind
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import UNet2D
from secmi_exp.targets.loading.scheduler_path import timesteps_of_scheduler
from secmi_exp.targets.pixel.authors_format import FLAG_FILE, Flags, read_flags
from secmi_exp.targets.pixel.networks import refuse_other_images

PixelPredictor = Deferred("secmi_exp.targets.pixel.predictor:PixelPredictor")

convert = Deferred("secmi_exp.targets.pixel.checkpoint_conversion:convert_authors")

VERSION = 1
"""Version of the conversion; raised when the same checkpoint would give another network."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SecMICheckpoint:
    """A file with the state dicts ``net_model`` and ``ema_model``; the flag file lies beside it."""

    conditions: ClassVar[tuple[str, ...]] = ()
    input_space: ClassVar[InputSpace] = "pixels"
    trained_here: ClassVar[bool] = False

    name: str
    path: UserPath
    weights: Literal["ema", "net"]

    @cached_property
    def flags(self) -> Flags:
        """Flags that the checkpoint was trained with.

        Raises:
            UserError: where the checkpoint isn't there or is something else, and as `read_flags` does.
        """
        refuse_other_files(self.path)
        return read_flags(self.path.with_name(FLAG_FILE))

    @property
    def timesteps(self) -> Timesteps:
        """See `Target.timesteps`."""
        return timesteps_of_scheduler({"_class_name": "DDPMScheduler", **self.flags.scheduler})

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Convert the checkpoint, or find the conversion in the store.

        Raises:
            UserError: for images of another shape, and a checkpoint that can't be read or contradicts its flags.
        """
        network = checked(UNet2D, self.flags.network, self.path.with_name(FLAG_FILE))
        refuse_other_images(network, members.shape, f"The network of {self.path}")
        if self.flags.mean_type != "epsilon":
            warn(
                "mean_type_ignored",
                f"The flag --mean_type={self.flags.mean_type} of {self.path.with_name(FLAG_FILE)} is ignored: the "
                "authors' trainer fits the noise whatever the flag is; with a trainer that was changed to follow it, "
                "the t-errors are wrong.",
            )
        flags = asdict(self.flags) | {"mean_type": "epsilon"}  # as it is read
        config: dict[str, Json] = {"weights": self.weights, "flags": flags, **outside_classes(target=self)}
        key = Key(
            "target", VERSION, config, {"secmi_checkpoint": store.file_digest(self.path)}, files=PIXEL_PIPELINE_FILES
        )
        entry = store.get_or_build(key, partial(convert, self.path, self.weights, self.flags))
        return PreparedTarget(entry.path, key, load=partial(PixelPredictor, entry.path))


def refuse_other_files(path: Path) -> None:
    """Refuse what isn't a file of `torch.save`.

    Raises:
        UserError: naming what it is.
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
