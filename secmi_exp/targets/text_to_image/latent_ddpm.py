"""A small latent diffusion model of our own: autoencoder, text encoder and U-Net, all made here, as a pipeline.

The autoencoder is trained on the members first. The text encoder keeps its random weights: its embeddings distinguish
captions, and the U-Net learns their meaning.
"""

from dataclasses import asdict
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.library_settings import optimizer_class, trained_before
from secmi_exp.targets.text_to_image.fine_tuning import TrainedTextToImage
from secmi_exp.targets.text_to_image.pipeline_folder import kept_files
from secmi_exp.targets.text_to_image.recipes import LatentDDPMRecipe

build_into = Deferred("secmi_exp.targets.text_to_image.latent_ddpm_training:build_into")
dry_run = Deferred("secmi_exp.targets.text_to_image.latent_ddpm_training:dry_run")

VERSION = 1
"""Version of the making; raised when the same configuration would give other weights."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LatentDDPM(LatentDDPMRecipe, TrainedTextToImage):
    """A latent diffusion model from scratch; its fields are those of ``conf/target/latent_ddpm.yaml``."""

    @property
    def timesteps(self) -> Timesteps:
        """See `Target.timesteps`."""
        return self.schedule.timesteps

    def dry_run(self, images: tuple[int, int, int], store: Store, runtime: Runtime) -> None:
        """See `SupportsDryRun.dry_run`."""
        self._refuse_other_sizes(images)
        first: dict[str, Json] = {
            "autoencoder": self.autoencoder, "text_encoder": self.text_encoder, "network": self.network,
            "autoencoder_training": self._first_stage,
        }  # fmt: skip
        last: dict[str, Json] = {"optimizer": self.training.optimizer}
        if not (trained_before(store, "base_pipeline", first) and trained_before(store, "target", last)):
            dry_run(self, self.training, images)

    @property
    def _first_stage(self) -> dict[str, Json]:
        """Settings of its training that decide the autoencoder."""
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

    def base(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> StableDiffusionFolder:
        """Return a pipeline with a trained autoencoder, and with random weights in the other networks.

        Raises:
            UserError: for images that the autoencoder can't take, settings that diffusers, transformers or torch
                refuse, and training that diverges.
        """
        self._refuse_other_sizes(members.shape)

        def build(workspace: Path) -> None:
            build_into(workspace, self, members, runtime, make_logger())

        names = ("autoencoder", "tokens", "text_encoder", "network", "prediction_type", "seed")
        config: dict[str, Json] = {name: getattr(self, name) for name in names} | {
            "autoencoder_training": self._first_stage,
            "schedule": asdict(self.schedule),
            "precision": runtime.precision,
        }
        config |= outside_classes(target=self) | optimizer_class(self.autoencoder_training.optimizer)
        files = kept_files(StableDiffusionFolder.kinds["StableDiffusionPipeline"])
        key = Key("base_pipeline", VERSION, config, {"members": members.digest}, files)
        return StableDiffusionFolder.from_path(store.get_or_build(key, build).path)
