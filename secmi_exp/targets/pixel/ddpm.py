"""Pixel-space targets of our own: diffusers' networks trained on the member images by Lightning, kept as a folder.

Sources: Ho et al., "Denoising Diffusion Probabilistic Models" (NeurIPS 2020), algorithm 1; Liu et al., "Flow Straight
and Fast: Learning to Generate and Transfer Data with Rectified Flow" (ICLR 2023).
"""

from abc import abstractmethod
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, FiniteFloat
from pydantic.dataclasses import dataclass

from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import TimeAxis, Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Input, Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PIXEL_PIPELINE_FILES, PreparedTarget, queried
from secmi_exp.targets.labels import LabelChoice, LabelQuery, QueriedLabels
from secmi_exp.targets.library_settings import drawing_within, optimizer_class, trained_before
from secmi_exp.targets.noise_schedule import FlowSchedule, NoiseSchedule
from secmi_exp.targets.pixel.class_labels import LabelledPixels, class_query, pixel_inputs
from secmi_exp.targets.pixel.privacy_spent import privacy_facts
from secmi_exp.targets.pixel.recipe import PICTURE, PixelRecipe

PixelPredictor = Deferred("secmi_exp.targets.pixel.predictor:PixelPredictor")
prepare_trained = Deferred("secmi_exp.targets.pixel.trained_folder:prepare_trained")
trained_label_query = Deferred("secmi_exp.targets.pixel.trained_folder:trained_label_query")
trained_timesteps = Deferred("secmi_exp.targets.pixel.trained_folder:trained_timesteps")
dry_run = Deferred("secmi_exp.targets.pixel.training:dry_run")
train_into = Deferred("secmi_exp.targets.pixel.training:train_into")

NOT_IN_KEY = ("name", "path", "defense", "checkpoint_every", "sample_every", "time_axis", "label", "guidance")
"""Fields that decide no weight."""
VERSION = 2
"""Version of the training code; raised when the same configuration would give other weights."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PixelTarget(PixelRecipe, LabelledPixels):
    """A target trained by a recipe."""

    path: UserPath | None
    """Folder of a target that was trained before, or directory of the run that trained it; None: to be trained."""
    label: LabelChoice = "dataset"
    """Class that images are queried with, where the network takes any."""
    guidance: Annotated[FiniteFloat, Field(ge=0)] = 1.0
    """w of classifier-free guidance away from the class for none, in queries; 1: none."""

    @cached_property
    def label_query(self) -> LabelQuery | None:
        """See `ClassConditional.label_query`; of a trained target by its own description."""
        if self.path is None:
            return class_query(self.network, self.label, self.guidance)
        trained: LabelQuery | None = trained_label_query(self.path, self.label, self.guidance)
        return trained

    @property
    def trained_here(self) -> bool:
        """See `Target.trained_here`."""
        return self.path is None

    @cached_property
    def timesteps(self) -> Timesteps:
        """See `Target.timesteps`."""
        if self.path is None:
            return self._timesteps
        trained: Timesteps = trained_timesteps(self.path, self.axis)
        return trained

    @property
    @abstractmethod
    def _timesteps(self) -> Timesteps:
        """Timesteps of the path that it is trained on."""

    @property
    def axis(self) -> TimeAxis:
        """What a timestep means, where the path is continuous."""
        return "ddpm"

    @property
    def defended(self) -> Self:
        """The recipe with the defense's changes."""
        changes = self.defense.recipe_changes(self)
        return replace(self, **changes) if changes else self

    def key(self, members: Images, runtime: Runtime) -> Key:
        """Return the key of what decides the weights."""
        config: dict[str, Json] = asdict(self.defended) | {"precision": runtime.precision}
        for name in NOT_IN_KEY:
            config.pop(name, None)
        if self.architecture == "UNet2DModel":  # whose targets had keys before there were others
            del config["architecture"]
        if settings := {**self.defense.settings(), **outside_classes(defense=self.defense)}:
            config["defense"] = settings
        config |= outside_classes(target=self) | optimizer_class(self.defended.optimizer)
        config |= drawing_within(self.architecture, self.network)
        files = (*PIXEL_PIPELINE_FILES, PICTURE, *self.defense.report_files)
        inputs: dict[str, Input] = {"members": members.digest}
        if labels := self._training_labels(members):
            inputs["labels"] = labels.digest
        return Key("target", VERSION, config, inputs, files)

    def _training_labels(self, members: Images) -> QueriedLabels | None:
        query = class_query(self.network, "dataset")
        if query and members.labels is None:
            raise UserError(
                "target.network takes class labels, and the members have none that it could be trained with: choose a "
                "dataset with labels, or a network without them, such as target=ddpm_small."
            )
        return query.labels_of(members) if query else None

    def dry_run(self, images: tuple[int, int, int], store: Store, runtime: Runtime) -> None:
        """See `SupportsDryRun.dry_run`."""
        recipe = self.defended
        made: dict[str, Json] = {"network": recipe.network, "optimizer": recipe.optimizer}
        if self.path is None and not trained_before(store, "target", made):
            dry_run(recipe, images, runtime)

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Read the target in `path`, find it in the store, or train it on the members.

        Raises:
            UserError: for images of another shape than the network's, settings that diffusers or torch refuse, training
                that diverges, a `path` without trained weights, and a defense that the runtime doesn't allow.
        """
        if self.path:
            prepared: PreparedTarget = prepare_trained(
                self.path, members.shape, self.axis, self.label, self.guidance, store
            )
            return prepared
        key = self.key(members, runtime)
        self.defense.check_samples(len(members))

        def train(workspace: Path) -> None:
            labels = self._training_labels(members)
            numbers = labels.numbers if labels else None
            train_into(workspace, self.defended, members, numbers, runtime, make_logger())

        entry = store.get_or_build(key, train)
        return PreparedTarget(
            entry.path,
            queried(key, self.axis, self.guidance),
            load=partial(PixelPredictor, entry.path, axis=self.axis, guidance=self.guidance),
            inputs=pixel_inputs(self.label_query),
            trained_on=members.digest,
            trained_now=not entry.reused,
            samples=entry.path / PICTURE,
            facts=privacy_facts(entry.path),
        )


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DDPM(PixelTarget):
    """A network that predicts the noise; its fields are those of ``conf/target/ddpm.yaml``."""

    schedule: NoiseSchedule

    @property
    def _timesteps(self) -> Timesteps:
        return self.schedule.timesteps


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RectifiedFlow(PixelTarget):
    """A network that predicts the velocity; its fields are those of ``conf/target/flow_small.yaml``."""

    schedule: FlowSchedule
    time_axis: TimeAxis

    @property
    def axis(self) -> TimeAxis:
        """See `TimeAxis`."""
        return self.time_axis

    @property
    def _timesteps(self) -> Timesteps:
        return self.schedule.timesteps(self.time_axis)
