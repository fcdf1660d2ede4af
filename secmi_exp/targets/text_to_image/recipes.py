"""The settings of trainings: of a U-Net on latents and captions, and of a small latent diffusion model's networks.

Source of the U-Net's preset: Duan et al. (ICML 2023), section 5, by diffusers' text-to-image example.
"""

from typing import Annotated

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.targets.library_settings import Settings
from secmi_exp.targets.noise_schedule import DiscretePrediction, NoiseSchedule


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LoRA:
    """A low-rank adapter in place of all weights; its fields are peft's.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (ICLR 2022).
    """

    rank: PositiveInt
    alpha: PositiveInt
    modules: list[str]
    """Names of the layers that are adapted."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainingRecipe:
    """Settings of the U-Net's training; autoencoder and text encoders stay as they are."""

    optimizer: Settings
    """A torch optimizer's class as ``_target_``, and its arguments."""
    batch_size: PositiveInt
    max_steps: PositiveInt
    warmup_steps: NonNegativeInt
    gradient_clip: PositiveFloat
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    """None: the attacked weights are the last ones."""
    caption_dropout: Annotated[float, Field(ge=0, le=1)]
    """Probability that a caption is replaced by the empty prompt."""
    lora: LoRA | None
    gradient_checkpointing: bool
    checkpoint_every: PositiveInt
    samples: NonNegativeInt
    """Number of images that are generated from the members' captions after the training."""
    samples_guidance: NonNegativeFloat


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
    prediction_type: DiscretePrediction
    seed: NonNegativeInt
