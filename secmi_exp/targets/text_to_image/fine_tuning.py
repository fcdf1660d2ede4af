"""Text-to-image targets that are trained here: the U-Net of a pipeline, on the members and their captions.

Source of the preset: Duan et al. (ICML 2023), section 5, whose targets come from diffusers' text-to-image example.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.run_warnings import warn
from secmi_exp.store import Json, Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.library_settings import Settings, optimizer_class
from secmi_exp.targets.text_to_image.latents import EncodedImages
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder
from secmi_exp.targets.text_to_image.pipeline_parts import NETWORKS, kept_files
from secmi_exp.targets.text_to_image.prompts import EncodedPrompts, Prompts, own_captions
from secmi_exp.targets.text_to_image.target import FromElsewhere, TextToImage
from secmi_exp.targets.trained_before import trained_before

VERSION = 1
"""Of this training code; raised when the same configuration would give other weights."""

Probability = Annotated[float, Field(ge=0, le=1)]


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
class Training:
    """Recipe of the U-Net's training; autoencoder and text encoders stay as they are."""

    optimizer: Settings
    """A torch optimizer's class as ``_target_``, and its arguments."""
    batch_size: PositiveInt
    max_steps: PositiveInt
    warmup_steps: NonNegativeInt
    gradient_clip: PositiveFloat
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    """None: the attacked weights are the last ones."""
    caption_dropout: Probability
    """How often a caption is replaced by the empty prompt."""
    lora: LoRA | None
    gradient_checkpointing: bool
    checkpoint_every: PositiveInt
    samples: NonNegativeInt
    """Images that are generated from the members' captions when it is trained."""
    samples_guidance: NonNegativeFloat


UNDECIDING = ("gradient_checkpointing", "checkpoint_every", "samples", "samples_guidance")
"""Fields that decide no weight."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainedTextToImage(TextToImage):
    """A pipeline whose U-Net is trained on the members."""

    training: Training

    @abstractmethod
    def base(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> TextToImageFolder:
        """The pipeline that the training starts from."""

    def key(self, base: TextToImageFolder, prompts: Prompts, members: Images, runtime: Runtime) -> Key:
        """What decides the weights."""
        training: dict[str, Json] = asdict(self.training)
        for name in UNDECIDING:
            del training[name]
        config = training | {"precision": runtime.precision, "seed": self.seed}
        config |= outside_classes(target=self) | optimizer_class(self.training.optimizer) | base.assumed_scaling
        start = base.key("target", *NETWORKS, *base.text_parts, "scheduler", reading=config)
        inputs = {**start.inputs, "members": members.digest, "captions": prompts.digest}
        return Key("target", VERSION, start.config, inputs, kept_files(base.kind))

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Find it in the store, or train it on the members.

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
                "are learned with the empty prompt.",
                side="members",
                count=prompts.missing,
            )

        def train(workspace: Path) -> None:
            from secmi_exp.targets.text_to_image.unet_training import train_into

            latents = EncodedImages(base, members, runtime).latents(store, seed=None)
            condition = EncodedPrompts(base, prompts, runtime).condition(store, guided=True)
            train_into(workspace, self, base, latents, condition, prompts, runtime, make_logger())

        entry = store.get_or_build(self.key(base, prompts, members, runtime), train)
        samples = entry.path / "samples.png"
        return self.prepared(
            TextToImageFolder.of(entry.path),
            trained_on=members.digest,
            trained_now=not entry.reused,
            samples=samples if samples.is_file() else None,
        )


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FineTuned(FromElsewhere, TrainedTextToImage):
    """A pipeline from elsewhere, trained further; its fields are those of ``conf/target/finetuned.yaml``."""

    def try_out(self, images: tuple[int, int, int], store: Store, runtime: Runtime) -> None:
        """See `TrainedHere.try_out`; the networks are there already."""
        if not trained_before(store, "target", {"optimizer": self.training.optimizer}):
            from secmi_exp.targets.dry_run.optimizers import try_optimizer

            try_optimizer(self.training.optimizer, "target.training.optimizer")

    def base(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> TextToImageFolder:
        """As it is."""
        self.folder.warn_of_choices()
        return self.folder
