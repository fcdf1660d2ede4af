"""A target trained by openai/guided-diffusion (ADM): its checkpoint, converted once into a diffusers pipeline."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PIXEL_PIPELINE_FILES, PreparedTarget
from secmi_exp.targets.labels import LabelChoice, LabelQuery
from secmi_exp.targets.loading.file_kind import foreign_kind
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import UNet2D
from secmi_exp.targets.loading.scheduler_path import timesteps_of_scheduler
from secmi_exp.targets.pixel.adm_format import ADMFlags
from secmi_exp.targets.pixel.class_labels import LabelledPixels, class_query, pixel_inputs
from secmi_exp.targets.pixel.networks import refuse_other_images, refuse_other_networks

PixelPredictor = Deferred("secmi_exp.targets.pixel.predictor:PixelPredictor")

convert = Deferred("secmi_exp.targets.pixel.checkpoint_conversion:convert_adm")

VERSION = 1
"""Version of the conversion; raised when the same checkpoint would give another network."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ADMCheckpoint(LabelledPixels):
    """A file with one state dict, such as ``ema_0.9999_250000.pt``, and the flags of its training."""

    trained_here: ClassVar[bool] = False

    name: str
    path: UserPath
    flags: ADMFlags
    label: LabelChoice = "dataset"
    """Class that images are queried with, where the network takes any."""

    @property
    def label_query(self) -> LabelQuery | None:
        """See `ClassConditional.label_query`."""
        return class_query(self.flags.network, self.label)

    @property
    def timesteps(self) -> Timesteps:
        """See `Target.timesteps`."""
        return timesteps_of_scheduler({"_class_name": "DDPMScheduler", **self.flags.scheduler}, "target.flags")

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Convert the checkpoint, or find the conversion in the store.

        Raises:
            UserError: for images of another shape, flags that diffusers' network can't express, and a checkpoint that
                can't be read or contradicts its flags.
        """
        refuse_other_files(self.path)
        network = checked(UNet2D, self.flags.network, "The network of target.flags")
        refuse_other_networks(network, f"the network of {self.path}")
        refuse_other_images(network, members.shape, f"The network of {self.path}")
        config: dict[str, Json] = {"flags": asdict(self.flags), **outside_classes(target=self)}
        key = Key(
            "target", VERSION, config, {"adm_checkpoint": store.file_digest(self.path)}, files=PIXEL_PIPELINE_FILES
        )
        entry = store.get_or_build(key, partial(convert, self.path, self.flags))
        load = partial(PixelPredictor, entry.path)
        return PreparedTarget(entry.path, key, load=load, inputs=pixel_inputs(self.label_query))


def refuse_other_files(path: Path) -> None:
    """Refuse what isn't a file of `torch.save`.

    Raises:
        UserError: naming what it is.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path.absolute()}: set target.path to the .pt of guided-diffusion.")
    kind = foreign_kind(path)
    if kind:
        raise UserError(f"target.path={path} is no checkpoint of guided-diffusion but {kind.what}: {kind.advice}.")
