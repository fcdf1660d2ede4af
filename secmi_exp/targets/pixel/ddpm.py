"""A DDPM of our own: diffusers' U-Net trained on the member images by Lightning, kept as a diffusers folder.

Source: Ho et al., "Denoising Diffusion Probabilistic Models" (NeurIPS 2020), algorithm 1.
"""

from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.data.images import Images
from secmi_exp.defenses.defense import Undefended
from secmi_exp.defenses.dp_sgd_settings import PRIVACY
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.regular import is_folder
from secmi_exp.run_warnings import warn
from secmi_exp.store import MANIFEST, Damaged, Json, Key, Store, check, digest_of, note_use
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PIXEL_PIPELINE_FILES, PreparedTarget
from secmi_exp.targets.library_settings import optimizer_class, trained_before
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import RunResults, Spent
from secmi_exp.targets.loading.weights import read_json
from secmi_exp.targets.pixel.ddpm_recipe import PICTURE, DDPMRecipe
from secmi_exp.targets.pixel.pipeline_folder import PipelineFolder, refuse_other_images
from secmi_exp.targets.pixel.unconditional import Unconditional

dry_run = Deferred("secmi_exp.targets.pixel.ddpm_training:dry_run")
train_into = Deferred("secmi_exp.targets.pixel.ddpm_training:train_into")

VERSION = 2
"""Version of the training code; raised when the same configuration would give other weights."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DDPM(DDPMRecipe):
    """A target trained by a recipe; its fields are those of ``conf/target/ddpm.yaml``."""

    conditions: ClassVar[tuple[str, ...]] = ()

    path: Path | None
    """Folder of a target that was trained before, or directory of the run that trained it; None: to be trained."""

    @property
    def timesteps(self) -> Timesteps:
        """See `Target.timesteps`."""
        return self._trained.schedule().timesteps if self._trained else self.schedule.timesteps

    @cached_property
    def _trained(self) -> PipelineFolder | None:
        """The folder that `path` names, or that the results of the run in `path` name."""
        if self.path is None:
            return None
        results = self.path / "results.json"
        if not results.is_file():
            return PipelineFolder.from_path(self.path.absolute())
        folder = checked(RunResults, read_json(results), results).target_folder
        if not is_folder(folder):
            raise UserError(
                f"The target of the run {self.path} isn't there any more ({folder}): set target.path to its folder."
            )
        return PipelineFolder.from_path(Path(folder))

    @property
    def defended(self) -> "DDPM":
        """The recipe with the defense's changes."""
        changes = self.defense.recipe_changes(self)
        return replace(self, **changes) if changes else self

    def key(self, members: Images, runtime: Runtime) -> Key:
        """Return the key of what decides the weights."""
        config: dict[str, Json] = asdict(self.defended) | {"precision": runtime.precision}
        for name in ("name", "path", "defense", "checkpoint_every", "sample_every"):  # decide no weight
            del config[name]
        if settings := {**self.defense.settings(), **outside_classes(defense=self.defense)}:
            config["defense"] = settings
        config |= outside_classes(target=self) | optimizer_class(self.defended.optimizer)
        files = (*PIXEL_PIPELINE_FILES, PICTURE, *self.defense.report_files)
        return Key("target", VERSION, config, {"members": members.digest}, files)

    def dry_run(self, images: tuple[int, int, int], store: Store, runtime: Runtime) -> None:
        """See `TrainableTarget.dry_run`."""
        recipe = self.defended
        made: dict[str, Json] = {"network": recipe.network, "optimizer": recipe.optimizer}
        if self.path is None and not trained_before(store, "target", made):
            dry_run(recipe, images, runtime)

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Read the target in `path`, find it in the store, or train it on the members.

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
            self._trained.warn_of_choices()
            refuse_other_images(self._trained.network, members.shape, f"The network in {self._trained.path}")
            prepared = _prepare_trained(self._trained)
            self._trained.refuse_unusable()
            return prepared
        key = self.key(members, runtime)
        self.defense.check_samples(len(members))

        def train(workspace: Path) -> None:
            train_into(workspace, self.defended, members, runtime, make_logger())

        entry = store.get_or_build(key, train)
        return PreparedTarget(
            entry.path,
            key,
            load=partial(Unconditional, entry.path),
            trained_on=members.digest,
            trained_now=not entry.reused,
            samples=entry.path / PICTURE,
            facts=_privacy_facts(entry.path),
        )


def _prepare_trained(pipeline: PipelineFolder) -> PreparedTarget:
    """Prepare a target that was trained before.

    Its key is that of its training where the store's manifest lies beside the weights, so that what was computed with
    it then is found again.
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
        load=partial(Unconditional, pipeline.path),
        trained_on=digest_of(members) if (members := key.inputs.get("members")) else None,
        samples=samples if samples.is_file() else None,
        facts=_privacy_facts(pipeline.path),
    )


def _privacy_facts(folder: Path) -> dict[str, Json]:
    """Read the privacy that the training spent; warn where DP-SGD ended it early."""
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
