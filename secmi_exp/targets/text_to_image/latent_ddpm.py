"""A small latent diffusion model of our own: autoencoder, text encoder and U-Net, all made here, as a pipeline.

The autoencoder is trained on the members first. The text encoder keeps its random weights: it tells captions apart, and
the U-Net learns what they mean.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pydantic import ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.store import Json, Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.library_settings import Settings, optimizer_class
from secmi_exp.targets.schedule import NoiseSchedule, Prediction
from secmi_exp.targets.text_to_image.fine_tuning import TrainedTextToImage
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder
from secmi_exp.targets.text_to_image.pipeline_parts import kept_files
from secmi_exp.targets.trained_before import trained_before

VERSION = 1
"""Of how the pipeline is made; raised when the same configuration would give other weights."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class AutoencoderTraining:
    """Recipe of the first stage."""

    optimizer: Settings
    batch_size: PositiveInt
    max_steps: PositiveInt
    warmup_steps: NonNegativeInt
    gradient_clip: PositiveFloat
    kl_weight: NonNegativeFloat
    """Of the posterior's divergence from a standard normal, against the squared error a pixel."""
    checkpoint_every: PositiveInt


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LatentDDPM(TrainedTextToImage):
    """A latent diffusion model from scratch; its fields are those of ``conf/target/latent_ddpm.yaml``."""

    autoencoder: Settings
    """Arguments of `AutoencoderKL`."""
    autoencoder_training: AutoencoderTraining
    tokens: PositiveInt
    """Of a caption, at most; each byte is one."""
    text_encoder: Settings
    """Arguments of `CLIPTextConfig`."""
    network: Settings
    """Arguments of `UNet2DConditionModel`."""
    schedule: NoiseSchedule
    prediction_type: Prediction

    @property
    def timesteps(self) -> Timesteps:
        """Of the schedule."""
        return self.schedule.timesteps

    def try_out(self, images: tuple[int, int, int], store: Store, runtime: Runtime) -> None:
        """See `TrainedHere.try_out`."""
        self._refuse_other_sizes(images)
        first: dict[str, Json] = {
            "autoencoder": self.autoencoder, "text_encoder": self.text_encoder, "network": self.network,
            "autoencoder_training": self._first_stage,
        }  # fmt: skip
        last: dict[str, Json] = {"optimizer": self.training.optimizer}
        if not (trained_before(store, "base_pipeline", first) and trained_before(store, "target", last)):
            from secmi_exp.targets.text_to_image.latent_ddpm_dry_run import try_latent_ddpm

            try_latent_ddpm(self, images)

    @property
    def _first_stage(self) -> dict[str, Json]:
        """What of its training decides the autoencoder."""
        return {name: value for name, value in asdict(self.autoencoder_training).items() if name != "checkpoint_every"}

    def _refuse_other_sizes(self, images: tuple[int, int, int]) -> None:
        blocks = self.autoencoder.get("block_out_channels")
        unit = 2 ** (len(blocks) - 1) if isinstance(blocks, list) else 1
        _, height, width = images
        if height % unit or width % unit:
            raise UserError(
                f"The autoencoder that target.autoencoder describes makes one latent of {unit}×{unit} pixels, and the "
                f"images have {height}×{width}: set dataset.image_size to a multiple of {unit}."
            )

    def base(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> TextToImageFolder:
        """The pipeline with a trained autoencoder, and with random weights in the other networks.

        Raises:
            UserError: for images that the autoencoder can't take, settings that diffusers, transformers or torch
                refuse, and training that diverges.
        """
        self._refuse_other_sizes(members.shape)

        def build(workspace: Path) -> None:
            from secmi_exp.targets.text_to_image.latent_ddpm_training import build_into

            build_into(workspace, self, members, runtime, make_logger())

        names = ("autoencoder", "tokens", "text_encoder", "network", "prediction_type", "seed")
        config: dict[str, Json] = {name: getattr(self, name) for name in names} | {
            "autoencoder_training": self._first_stage,
            "schedule": asdict(self.schedule),
            "precision": runtime.precision,
        }
        config |= outside_classes(target=self) | optimizer_class(self.autoencoder_training.optimizer)
        files = kept_files("StableDiffusionPipeline")
        key = Key("base_pipeline", VERSION, config, {"members": members.digest}, files)
        return TextToImageFolder.of(store.get_or_build(key, build).path)
