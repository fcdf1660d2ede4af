"""A target of one's own: a factory in the user's code makes the network, a file holds its weights."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.images import Images
from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.diffusion.timesteps import Prediction, TimeAxis, Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.formatting import shown
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import InputSpace, PreparedTarget
from secmi_exp.targets.own_network.calling import Argument, Calling, TimeShape
from secmi_exp.targets.own_network.making import make_network, source_identities
from secmi_exp.targets.own_network.path_settings import DDPMPath, EDMPath, FlowPath, PathSettings
from secmi_exp.targets.own_network.predictor import OwnNetwork
from secmi_exp.targets.own_network.state_dict import StateDictFile

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the reading; raised when the same network and settings would predict other noise."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class OwnModule:
    """Its fields are those of ``conf/target/module.yaml``."""

    conditions: ClassVar[tuple[str, ...]] = ()
    input_space: ClassVar[InputSpace] = "pixels"
    trained_here: ClassVar[bool] = False

    name: str
    factory: Annotated[str, Field(pattern=r"^\w+(\.\w+)+$")]
    """Class or function that makes the network, with its module."""
    kwargs: dict[str, Any] | None
    """Arguments of the factory."""
    weights: UserPath
    entry: str | None
    prefix: str | None
    path: PathSettings
    prediction: Prediction
    time_axis: TimeAxis
    input_range: tuple[float, float]
    call: list[Argument] | dict[str, Argument] | None
    time: Literal["int", "float", "scaled"]
    time_shape: TimeShape

    def __post_init__(self) -> None:
        """Refuse settings that don't go together.

        Raises:
            UserError: naming them.
        """
        kind = self.path.kind
        if self.prediction not in self.path.predictions:
            raise UserError(
                f"target.prediction={self.prediction} has no meaning with target.path.kind={kind}: choose one of "
                f"{', '.join(self.path.predictions)}."
            )
        if self.time == "int" and not isinstance(self.path, DDPMPath):
            raise UserError(
                f"target.time=int can't be used with target.path.kind={kind}, where the network's time is no whole "
                "number: set target.time=float" + (", or scaled." if isinstance(self.path, FlowPath) else ".")
            )
        if self.time == "scaled" and isinstance(self.path, EDMPath):
            raise UserError(
                "target.time=scaled can't be used with target.path.kind=edm, which has no number of timesteps to "
                "divide by: set target.time=float."
            )
        arguments = self.arguments.values() if isinstance(self.arguments, Mapping) else self.arguments
        if sorted(arguments) != ["t", "x_t"]:
            raise UserError(
                f"target.call={shown(self.call)} can't be used: it must have x_t and t, each once, such as [x_t, t] or "
                "{x: x_t, timestep: t}."
            )

    @property
    def arguments(self) -> list[Argument] | dict[str, Argument]:
        """Arguments of the network's forward."""
        return ["x_t", "t"] if self.call is None else self.call

    @cached_property
    def diffusion_path(self) -> GaussianPath:
        """The path that the network was trained on."""
        return self.path.path(self.prediction, self.time_axis)

    @property
    def timesteps(self) -> Timesteps:
        """See `Target.timesteps`."""
        return self.path.timesteps if isinstance(self.path, DDPMPath) else self.diffusion_path.timesteps

    @property
    def load(self) -> partial[OwnNetwork]:
        """Makes the noise predictor."""
        divisor = 1.0 if self.time != "scaled" or isinstance(self.path, EDMPath) else self.path.num_train_timesteps
        calling = Calling(self.arguments, self.time == "int", divisor, self.time_shape)
        weights = StateDictFile(self.weights, self.entry, self.prefix)
        return partial(
            OwnNetwork, self.factory, self.kwargs or {}, weights, self.diffusion_path, calling, self.input_range
        )

    def dry_run(self, images: tuple[int, int, int], store: Store, runtime: Runtime) -> None:
        """See `SupportsDryRun.dry_run`: make the network with its weights, and evaluate it once.

        Raises:
            UserError: where any of this fails.
        """
        log.info("target.factory=%s is imported now, which executes the code of that module.", self.factory)
        network = self.load()
        if network.left_out:
            told = "%d keys of %s don't begin with target.prefix=%s and are left out."
            log.info(told, network.left_out, self.weights, self.prefix)
        network.try_once(images)

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Name the network by its code, its weights and how they are read; they are read when it is queried.

        Raises:
            UserError: where the factory fails, and where there are no weights.
        """
        if not self.weights.is_file():
            raise UserError(f"target.weights={self.weights} is no file: set it to the file of the network's weights.")
        arguments = self.kwargs or {}
        config: dict[str, Json] = {
            "sources": source_identities(self.factory, make_network(self.factory, arguments)),
            "kwargs": arguments,
            "entry": self.entry,
            "prefix": self.prefix,
            "path": asdict(self.path),
            "prediction": self.prediction,
            "time_axis": self.time_axis,
            "input_range": self.input_range,
            "call": self.arguments,
            "time": [self.time, self.time_shape],
            **outside_classes(target=self),
        }
        key = Key("module", VERSION, config, {"weights": store.file_digest(self.weights)})
        return PreparedTarget(self.weights.absolute().parent, key, load=self.load)
