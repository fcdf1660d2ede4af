"""Text-to-image targets that are trained here: the U-Net of a pipeline, on the members and their captions."""

from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import warn
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.library_settings import drawing_within, optimizer_class, trained_before
from secmi_exp.targets.text_to_image.latents import EncodedImages
from secmi_exp.targets.text_to_image.pipeline_folder import kept_files
from secmi_exp.targets.text_to_image.prompts import EncodedPrompts, Prompts, own_captions
from secmi_exp.targets.text_to_image.recipes import TrainingRecipe
from secmi_exp.targets.text_to_image.target import FromElsewhere, TextToImage

train_into = Deferred("secmi_exp.targets.text_to_image.unet_training:train_into")
try_optimizer = Deferred("secmi_exp.targets.dry_run:try_optimizer")

VERSION = 1
"""Version of the training code; raised when the same configuration would give other weights."""

NOT_IN_KEY = ("gradient_checkpointing", "checkpoint_every", "samples", "samples_guidance")
"""Fields of the recipe that decide no weight."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainedTextToImage(TextToImage):
    """A pipeline whose U-Net is trained on the members."""

    trained_here: ClassVar[bool] = True

    training: TrainingRecipe

    @abstractmethod
    def base(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> StableDiffusionFolder:
        """Return the pipeline that the training starts from."""

    def key(
        self, base: StableDiffusionFolder, prompts: Prompts, members: Images, store: Store, runtime: Runtime
    ) -> Key:
        """Return the key of what decides the weights; the store gives the digests of files."""
        training: dict[str, Json] = asdict(self.training)
        for name in NOT_IN_KEY:
            del training[name]
        config = training | {"precision": runtime.precision, "seed": self.seed}
        config |= outside_classes(target=self) | optimizer_class(self.training.optimizer) | base.assumed_scaling
        config |= drawing_within("UNet2DConditionModel", base.model("unet").config)
        parts = ("vae", "unet", *base.text_parts, "scheduler")
        start = base.key("target", *parts, reading=config, digest=store.file_digest)
        inputs = {**start.inputs, "members": members.digest, "captions": prompts.digest}
        return Key("target", VERSION, start.config, inputs, kept_files(base.parts))

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Find the target in the store, or train it on the members.

        Raises:
            UserError: for images that the pipeline can't take or that have no captions, settings that torch or peft
                refuse, and training that diverges.
        """
        base = self.base(members, store, runtime, make_logger)
        base.refuse_other_images(members)
        prompts = own_captions(members)
        if prompts.missing:
            warn(
                "captions_missing_in_training",
                f"{prompts.missing} of the {len(members)} members that the target is trained on have no caption, and "
                "are trained on with the empty prompt.",
                side="members",
                count=prompts.missing,
            )

        def train(workspace: Path) -> None:
            latents = EncodedImages(base, members, store, runtime).latents(seed=None)
            condition = EncodedPrompts(base, prompts, store, runtime).condition(guided=True)
            train_into(workspace, self.training, self.seed, base, latents, condition, prompts, runtime, make_logger())

        entry = store.get_or_build(self.key(base, prompts, members, store, runtime), train)
        samples = entry.path / "samples.png"
        return self.prepared(
            StableDiffusionFolder.from_path(entry.path),
            store,
            trained_on=members.digest,
            trained_now=not entry.reused,
            samples=samples if samples.is_file() else None,
        )


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FineTuned(FromElsewhere, TrainedTextToImage):
    """A pipeline from elsewhere, trained further; its fields are those of ``conf/target/finetuned.yaml``."""

    def dry_run(self, images: tuple[int, int, int], store: Store, runtime: Runtime) -> None:
        """See `SupportsDryRun.dry_run`; the networks exist already."""
        if not trained_before(store, "target", {"optimizer": self.training.optimizer}):
            try_optimizer(self.training.optimizer, "target.training.optimizer")

    def base(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> StableDiffusionFolder:
        """Return the pipeline as it is."""
        folder = self.pipeline(members, store)
        assert isinstance(folder, StableDiffusionFolder)  # as `FromElsewhere.read` makes it
        return folder
