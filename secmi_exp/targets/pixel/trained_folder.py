"""A DDPM of ours that was trained before: read from its folder, or from the directory of the run that trained it."""

from functools import partial
from pathlib import Path

from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import TimeAxis, Timesteps
from secmi_exp.errors import UserError
from secmi_exp.files.regular import is_folder
from secmi_exp.store import MANIFEST, Damaged, Store, check, digest_of, note_use
from secmi_exp.targets.interface import PIXEL_PIPELINE_FILES, PreparedTarget, queried
from secmi_exp.targets.labels import LabelChoice, LabelQuery
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import RunResultsFile
from secmi_exp.targets.loading.settings_files import read_json
from secmi_exp.targets.pixel.class_labels import class_query, pixel_inputs
from secmi_exp.targets.pixel.networks import refuse_other_images
from secmi_exp.targets.pixel.pipeline_folder import PipelineFolder
from secmi_exp.targets.pixel.privacy_spent import privacy_facts
from secmi_exp.targets.pixel.recipe import PICTURE

PixelPredictor = Deferred("secmi_exp.targets.pixel.predictor:PixelPredictor")


def trained_timesteps(path: Path, axis: TimeAxis) -> Timesteps:
    """Return the timesteps of a trained target's schedule; see `_pipeline` for the path."""
    return _pipeline(path).timesteps(axis=axis)


def trained_label_query(path: Path, label: LabelChoice, guidance: float) -> LabelQuery | None:
    """Return how images get the class that a trained target is queried with; None for one that takes none."""
    return class_query(_pipeline(path).model.config, label, guidance)


def prepare_trained(
    path: Path, shape: tuple[int, int, int], axis: TimeAxis, label: LabelChoice, guidance: float, store: Store
) -> PreparedTarget:
    """Prepare a target that was trained before.

    Its key is that of its training where the store's manifest lies beside the weights, so that what was computed with
    it then is found again.

    Args:
        path: see `_pipeline`.
        shape: (C, H, W) of the images.
        axis: what a timestep means, where the path is continuous.
        label: class that images are queried with, where the network takes any.
        guidance: w of classifier-free guidance; 1: none.
        store: gives the digests of files.

    Raises:
        UserError: for images of another shape than the network's, and a folder without usable weights.
    """
    pipeline = _pipeline(path)
    pipeline.warn_of_choices()
    refuse_other_images(pipeline.network, shape, f"The network in {pipeline.path}")
    prepared = _prepared(pipeline, axis, label, guidance, store)
    pipeline.refuse_unusable()
    return prepared


def _pipeline(path: Path) -> PipelineFolder:
    """Read the folder that a path names, or that the results of the run in it name."""
    results = path / "results.json"
    if not results.is_file():
        return PipelineFolder.from_path(path.absolute())
    folder = checked(RunResultsFile, read_json(results), results).target_folder
    if not is_folder(folder):
        raise UserError(f"The target of the run {path} isn't there any more ({folder}): set target.path to its folder.")
    return PipelineFolder.from_path(Path(folder))


def _prepared(
    pipeline: PipelineFolder, axis: TimeAxis, label: LabelChoice, guidance: float, store: Store
) -> PreparedTarget:
    key, samples = pipeline.key({}, store.file_digest), pipeline.path / PICTURE
    if (pipeline.path / MANIFEST).is_file():
        try:
            key = check(pipeline.path, files=PIXEL_PIPELINE_FILES, digest=store.file_digest).key
        except Damaged as damage:
            raise UserError(
                f"The target in {pipeline.path} is damaged ({damage}): train it again, or, where its {MANIFEST} is "
                "none of secmi_exp's, remove that file."
            ) from damage
        note_use(pipeline.path)
    return PreparedTarget(
        pipeline.path,
        queried(key, axis, guidance),
        load=partial(PixelPredictor, pipeline.path, axis=axis, guidance=guidance),
        inputs=pixel_inputs(class_query(pipeline.model.config, label, guidance)),
        trained_on=digest_of(members) if (members := key.inputs.get("members")) else None,
        samples=samples if samples.is_file() else None,
        facts=privacy_facts(pipeline.path),
    )
