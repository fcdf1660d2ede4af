"""The settings of a small latent diffusion model's networks, and of its autoencoder's training."""

from pydantic import ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.schedule import NoiseSchedule, Prediction


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class AutoencoderTraining:
    """Settings of the first stage."""

    optimizer: Settings
    batch_size: PositiveInt
    max_steps: PositiveInt
    warmup_steps: NonNegativeInt
    gradient_clip: PositiveFloat
    kl_weight: NonNegativeFloat
    """Weight of the posterior's divergence from a standard normal, against the squared error of a pixel."""
    checkpoint_every: PositiveInt


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LatentDDPMRecipe:
    """Autoencoder, text encoder, U-Net and schedule."""

    autoencoder: Settings
    """Arguments of `AutoencoderKL`."""
    autoencoder_training: AutoencoderTraining
    tokens: PositiveInt
    """Upper bound of a caption's tokens; each byte is one."""
    text_encoder: Settings
    """Arguments of `CLIPTextConfig`."""
    network: Settings
    """Arguments of `UNet2DConditionModel`."""
    schedule: NoiseSchedule
    prediction_type: Prediction
    seed: NonNegativeInt
