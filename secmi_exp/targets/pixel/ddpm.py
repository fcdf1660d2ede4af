"""A DDPM of our own: diffusers' U-Net trained on the member images by Lightning, kept as a diffusers folder.

Source: Ho et al., "Denoising Diffusion Probabilistic Models" (NeurIPS 2020), algorithm 1.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.defenses.defense import Defense, Undefended, made
from secmi_exp.defenses.dp_sgd import DPSGD, PRIVACY
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.regular import is_folder
from secmi_exp.run_warnings import warn
from secmi_exp.store import MANIFEST, Damaged, Json, Key, Store, check, digest_of, note_use
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PIXEL_PIPELINE_FILES, PreparedTarget
from secmi_exp.targets.library_settings import Settings, optimizer_class
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import RunResults, Spent
from secmi_exp.targets.loading.weights import read_json
from secmi_exp.targets.schedule import NoiseSchedule
from secmi_exp.targets.trained_before import trained_before

if TYPE_CHECKING:
    from secmi_exp.targets.pixel.pipeline_folder import PipelineFolder
    from secmi_exp.targets.pixel.unconditional import Unconditional

PICTURE = "samples.png"
"""A picture of images that a target generates when its training has ended."""

VERSION = 2
"""Of this training code; raised when the same configuration would give other weights."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DDPM:
    """The recipe by which a target is trained; its fields are those of ``conf/target/ddpm.yaml``."""

    uses_captions: ClassVar[bool] = False

    name: str
    path: Path | None
    """Of a target that was trained before, which is attacked as it is."""
    network: Settings
    """Arguments of `UNet2DModel`."""
    schedule: NoiseSchedule
    optimizer: Settings
    """A torch optimizer's class as ``_target_``, and its arguments."""
    batch_size: PositiveInt
    max_steps: PositiveInt
    warmup_steps: NonNegativeInt
    gradient_clip: PositiveFloat
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    horizontal_flip: bool
    defense: Annotated[InstanceOf[Defense], BeforeValidator(made)]
    checkpoint_every: PositiveInt
    sample_every: PositiveInt
    seed: NonNegativeInt

    @property
    def timesteps(self) -> Timesteps:
        """Of the schedule."""
        return self._trained.schedule().timesteps if self._trained else self.schedule.timesteps

    @cached_property
    def _trained(self) -> PipelineFolder | None:
        """What `path` leads to: a folder of weights, or the run's directory that tells where they are."""
        if self.path is None:
            return None
        from secmi_exp.targets.pixel.pipeline_folder import PipelineFolder

        results = self.path / "results.json"
        if not results.is_file():
            return PipelineFolder.of(self.path.absolute())
        folder = checked(RunResults, read_json(results), results).target_folder
        if not is_folder(folder):
            raise UserError(
                f"The target of the run {self.path} isn't there any more ({folder}): set target.path to its folder."
            )
        return PipelineFolder.of(Path(folder))

    @property
    def defended(self) -> DDPM:
        """The recipe as the defense would have it."""
        recipe: DDPM = self.defense.recipe(self)
        return recipe

    def key(self, members: Images, runtime: Runtime) -> Key:
        """What decides the weights."""
        config: dict[str, Json] = asdict(self.defended) | {"precision": runtime.precision}
        for name in ("name", "path", "defense", "checkpoint_every", "sample_every"):  # decide no weight
            del config[name]
        if settings := {**self.defense.settings(), **outside_classes(defense=self.defense)}:
            config["defense"] = settings
        config |= outside_classes(target=self) | optimizer_class(self.defended.optimizer)
        files = (*PIXEL_PIPELINE_FILES, PICTURE, *((PRIVACY,) if isinstance(self.defense, DPSGD) else ()))
        return Key("target", VERSION, config, {"members": members.digest}, files)

    def try_out(self, images: tuple[int, int, int], store: Store, runtime: Runtime) -> None:
        """See `TrainedHere.try_out`."""
        recipe = self.defended
        made: dict[str, Json] = {"network": recipe.network, "optimizer": recipe.optimizer}
        if self.path is None and not trained_before(store, "target", made):
            from secmi_exp.targets.dry_run.networks import try_ddpm

            try_ddpm(recipe, images, runtime)

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Read what was trained before, find it in the store, or train on the members.

        Raises:
            UserError: for images of another shape than the network's, settings that diffusers or torch refuse, training
                that diverges, a `path` without trained weights, and a defense that comes too late or that the runtime
                doesn't allow.
        """
        if self._trained:
            if not isinstance(self.defense, Undefended):
                raise UserError(
                    f"defense={self.defense.name} acts on a training, and the target in {self.path} is trained "
                    "already: leave out defense or target.path."
                )
            from secmi_exp.targets.pixel.pipeline_folder import refuse_other_images

            self._trained.warn_of_choices()
            refuse_other_images(self._trained.network, members, f"The network in {self._trained.path}")
            found = _found(self._trained)
            self._trained.refuse_unusable()
            return found
        key = self.key(members, runtime)
        self.defense.warn_of(len(members))

        def train(workspace: Path) -> None:
            from secmi_exp.targets.pixel.ddpm_training import train_into

            train_into(workspace, self.defended, members, runtime, make_logger())

        entry = store.get_or_build(key, train)
        return PreparedTarget(
            entry.path,
            key,
            load=partial(load, entry.path),
            trained_on=members.digest,
            trained_now=not entry.reused,
            samples=entry.path / PICTURE,
            facts=_facts(entry.path),
        )


def _found(pipeline: PipelineFolder) -> PreparedTarget:
    """A target that was trained before, under the key of its training where the store's manifest lies beside it.

    What was computed with it then is found again by that key.
    """
    key, samples = pipeline.key({}), pipeline.path / PICTURE
    if (pipeline.path / MANIFEST).is_file():
        try:
            key = check(pipeline.path, files=PIXEL_PIPELINE_FILES).key
        except Damaged as damage:
            raise UserError(
                f"The target in {pipeline.path} is damaged ({damage}): train it again, or, where its {MANIFEST} is "
                "none of secmi_exp's, remove that file."
            ) from damage
        note_use(pipeline.path)
    return PreparedTarget(
        pipeline.path,
        key,
        load=partial(load, pipeline.path),
        trained_on=digest_of(members) if (members := key.inputs.get("members")) else None,
        samples=samples if samples.is_file() else None,
        facts=_facts(pipeline.path),
    )


def _facts(folder: Path) -> dict[str, Json]:
    """What the training has left besides weights and samples; warns where DP-SGD ended it early."""
    file = folder / PRIVACY
    if not file.is_file():
        return {}
    privacy = read_json(file)
    spent = checked(Spent, privacy, file)
    if spent.steps < spent.planned_steps and spent.max_epsilon is not None:
        warn(
            "training_stopped_by_epsilon",
            f"DP-SGD ended the target's training after {spent.steps} of {spent.planned_steps} steps, where "
            f"one more would have exceeded defense.max_epsilon={spent.max_epsilon:g}.",
        )
    return {"privacy": privacy}


def load(folder: Path) -> Unconditional:
    """The noise predictor of a folder of weights."""
    from secmi_exp.targets.pixel.unconditional import Unconditional

    return Unconditional(folder)
