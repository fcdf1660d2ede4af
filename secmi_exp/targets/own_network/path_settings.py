"""Settings of the path that a network of one's own was trained on: DDPM, flow matching, or EDM; needs no diffusers."""

from dataclasses import asdict, replace
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.diffusion.timesteps import PAPER_STEPS, Prediction, TimeAxis
from secmi_exp.errors import UserError
from secmi_exp.targets.loading.model_file_schemas import MOST_TIMESTEPS
from secmi_exp.targets.loading.scheduler_path import exploding_path, flow_path, path_of_scheduler
from secmi_exp.targets.noise_schedule import NoiseSchedule

Sigma = Annotated[float, Field(gt=0, le=1e6)]

LEAST_SIGMA_MAX = 0.02
"""σ_max of EDM is above it: σ/α of the paper's DDPM schedule at its first timesteps, where the common axis begins."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DDPMPath(NoiseSchedule):
    """A noise schedule of T timesteps."""

    predictions: ClassVar[tuple[Prediction, ...]] = ("epsilon", "sample", "v_prediction")

    kind: Literal["ddpm"]

    def path(self, prediction: Prediction, axis: TimeAxis) -> GaussianPath:
        """The path; its timesteps are the schedule's own on either axis."""
        schedule = {name: value for name, value in asdict(self).items() if name != "kind"}
        config = {"_class_name": "DDPMScheduler", **schedule, "prediction_type": prediction}
        return path_of_scheduler(config, "target.path")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FlowPath:
    """The straight path of flow matching."""

    predictions: ClassVar[tuple[Prediction, ...]] = ("velocity", "epsilon", "sample")

    kind: Literal["flow"]
    num_train_timesteps: Annotated[int, Field(gt=1, le=MOST_TIMESTEPS)]
    """The network's time is σ times this."""

    def path(self, prediction: Prediction, axis: TimeAxis) -> GaussianPath:
        """The path; see `flow_path`.

        Raises:
            UserError: for a network that predicts x_0 on the native axis, which begins without noise.
        """
        if prediction == "sample" and axis == "native":
            raise UserError(
                "target.prediction=sample can't be used with target.time_axis=native: at its timestep 0 there is no "
                "noise, so that none follows from an image; set target.time_axis=ddpm."
            )
        return replace(flow_path(self.num_train_timesteps, axis), prediction=prediction)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EDMPath:
    """The path of EDM, on which the variance explodes."""

    predictions: ClassVar[tuple[Prediction, ...]] = ("edm", "sample", "epsilon")

    kind: Literal["edm"]
    sigma_min: Sigma
    sigma_max: Sigma
    sigma_data: Sigma = 0.5
    """σ_data of EDM's preconditioning, used with the prediction ``edm`` alone; the default is the paper's."""

    def __post_init__(self) -> None:
        """Compare both ends.

        Raises:
            UserError: naming them.
        """
        least = max(self.sigma_min, LEAST_SIGMA_MAX)
        if self.sigma_max <= least:
            raise UserError(f"target.path.sigma_max={self.sigma_max:g} can't be used: it must be above {least:g}.")

    def path(self, prediction: Prediction, axis: TimeAxis) -> GaussianPath:
        """The path; see `exploding_path`."""
        return exploding_path(PAPER_STEPS, self.sigma_min, self.sigma_max, prediction, axis, self.sigma_data)


PathSettings = Annotated[DDPMPath | FlowPath | EDMPath, Field(discriminator="kind")]
