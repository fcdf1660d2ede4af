"""A target trained elsewhere, in diffusers' layout: a folder on disk, or a repository of the hub."""

from collections.abc import Collection
from dataclasses import asdict
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, FiniteFloat
from pydantic.dataclasses import dataclass

from secmi_exp.configuration.user_path import UserPathOrName
from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import TimeAxis, Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import warn
from secmi_exp.store import Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PreparedTarget, queried
from secmi_exp.targets.labels import LabelChoice, LabelQuery
from secmi_exp.targets.loading.hub import fetch
from secmi_exp.targets.loading.training_folder import (
    NETWORK_CONFIGS,
    PIPELINE_CONFIG,
    SCHEDULER_CONFIG,
    WeightsChoice,
    choose_network,
)
from secmi_exp.targets.loading.weight_files import network_files
from secmi_exp.targets.noise_schedule import DiscretePrediction, NoiseSchedule
from secmi_exp.targets.pixel.class_labels import LabelledPixels, class_query, pixel_inputs
from secmi_exp.targets.pixel.networks import refuse_other_images
from secmi_exp.targets.pixel.pipeline_folder import PipelineFolder

PixelPredictor = Deferred("secmi_exp.targets.pixel.predictor:PixelPredictor")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DiffusersFolder(LabelledPixels):
    """A pipeline in pixel space, or its network alone; its fields are those of ``conf/target/diffusers.yaml``."""

    trained_here: ClassVar[bool] = False

    name: str
    path: UserPathOrName
    input_range: tuple[float, float]
    schedule: NoiseSchedule
    prediction_type: DiscretePrediction
    weights: WeightsChoice
    variant: str | None
    """Variant of the weights, such as fp16; None: the default one."""
    label: LabelChoice = "dataset"
    """Class that images are queried with, where the network takes any."""
    guidance: Annotated[FiniteFloat, Field(ge=0)] = 1.0
    """w of classifier-free guidance away from the class for none; 1: none."""
    time_axis: TimeAxis = "ddpm"
    """What a timestep means on a continuous path."""

    @property
    def label_query(self) -> LabelQuery | None:
        """See `ClassConditional.label_query`."""
        return class_query(self._pipeline.model.config, self.label, self.guidance)

    @cached_property
    def _pipeline(self) -> PipelineFolder:
        files = partial(pixel_files, weights=self.weights, variant=self.variant, where=self.path)
        return PipelineFolder.from_path(fetch(self.path, files), self.weights, self.variant)

    @cached_property
    def _assumed_scheduler(self) -> dict[str, Any] | None:
        """Settings of the scheduler for a network without one; None where there is one."""
        if self._pipeline.scheduler_path:
            return None
        warn(
            "schedule_assumed",
            f"{self._pipeline.path} has no scheduler, so that target.schedule "
            f"({self.schedule.beta_schedule} from {self.schedule.beta_start:g} to {self.schedule.beta_end:g} in "
            f"{self.schedule.num_train_timesteps} steps) and "
            f"target.prediction_type={self.prediction_type} are assumed; "
            "unless it was trained with them, its t-errors are wrong.",
        )
        return {"_class_name": "DDPMScheduler", **asdict(self.schedule), "prediction_type": self.prediction_type}

    @property
    def timesteps(self) -> Timesteps:
        """See `Target.timesteps`."""
        return self._pipeline.timesteps(self._assumed_scheduler, self.time_axis)

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Read the descriptions; the weights are read where they lie.

        Raises:
            UserError: for a path where there is nothing, another kind of model, and images of another shape.
        """
        pipeline = self._pipeline
        pipeline.warn_of_choices()
        refuse_other_images(pipeline.network, members.shape, f"The network in {self.path}")
        pipeline.refuse_unusable()
        reading: dict[str, Json] = {"input_range": self.input_range, "scheduler": self._assumed_scheduler}
        reading |= outside_classes(target=self)
        return PreparedTarget(
            pipeline.path,
            queried(pipeline.key(reading, store.file_digest), self.time_axis, self.guidance),
            load=partial(
                PixelPredictor, pipeline.path, self.input_range, self._assumed_scheduler, self.weights, self.variant,
                self.time_axis, self.guidance,
            ),
            inputs=pixel_inputs(self.label_query),
        )  # fmt: skip


def pixel_files(names: Collection[str], weights: WeightsChoice, variant: str | None, where: str) -> list[str]:
    """Select the files that are read of a pipeline in pixel space, among those of a whole repository.

    Args:
        names: of all of its files.
        weights: see `choose_network`.
        variant: see `choose_weights`.
        where: the repository, for messages.
    """
    network = choose_network(names, weights, where).folder
    described = {PIPELINE_CONFIG, SCHEDULER_CONFIG, f"scheduler/{SCHEDULER_CONFIG}", *NETWORK_CONFIGS}
    return sorted({*described.intersection(names), *network_files(names, network, "diffusers", variant, where)})
