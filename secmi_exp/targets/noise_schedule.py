"""Settings of the path that a network is trained on; needs no torch."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from secmi_exp.diffusion.timesteps import PAPER_STEPS, TimeAxis, Timesteps
from secmi_exp.targets.loading.model_file_schemas import MOST_TIMESTEPS

DiscretePrediction = Literal["epsilon", "v_prediction", "sample"]
"""Values of `Prediction` that a network with a discrete schedule may have."""

Beta = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NoiseSchedule:
    """Arguments of `DDPMScheduler`."""

    num_train_timesteps: Annotated[int, Field(gt=0, le=MOST_TIMESTEPS)]
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
    beta_start: Beta
    beta_end: Beta

    @property
    def timesteps(self) -> Timesteps:
        """Timesteps of the schedule, whose ᾱ is above 0 everywhere."""
        return Timesteps.with_signal_everywhere(self.num_train_timesteps)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FlowSchedule:
    """Arguments of `FlowMatchEulerDiscreteScheduler`, and how σ is drawn in training."""

    num_train_timesteps: Annotated[int, Field(gt=0, le=MOST_TIMESTEPS)]
    """T: the network's time is σ · T."""
    sigma: Literal["uniform", "logit_normal"]
    """Distribution of σ in (0, 1); logit_normal: of a standard normal number's logistic function.

    Source: Esser et al., "Scaling Rectified Flow Transformers" (ICML 2024), section 3.1."""

    def timesteps(self, axis: TimeAxis) -> Timesteps:
        """Timesteps of the path, whose α is above 0 everywhere."""
        return Timesteps.with_signal_everywhere(PAPER_STEPS if axis == "ddpm" else self.num_train_timesteps)
