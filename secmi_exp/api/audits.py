"""Audits and t-errors from Python: objects in memory are given names, and the command's own job is carried out."""

import difflib
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from secmi_exp.api.given_images import Images, Located, OpenStore, common_shape, locate
from secmi_exp.api.job import compose_job, explained, run_job
from secmi_exp.api.kept import keep
from secmi_exp.api.result import AuditResult, load
from secmi_exp.api.settings import Setting, overrides
from secmi_exp.attacks.finite_values import refuse_non_finite_values
from secmi_exp.configuration.folders import CONF, ConfigFolders
from secmi_exp.configuration.general import General
from secmi_exp.configuration.preparation import prepare
from secmi_exp.configuration.source_types import refuse_wrong_types
from secmi_exp.diffusion.noise_predictor import NoisePredictor
from secmi_exp.engine.launch import end_rank_group
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.targets.given import hand_over


@runtime_checkable
class SavesPretrained(Protocol):
    """A pipeline of diffusers, or one of its networks."""

    def save_pretrained(self, save_directory: str, safe_serialization: bool = True) -> None:
        """Write it to a folder."""


Target: TypeAlias = str | PathLike[str] | SavesPretrained | NoisePredictor
"""What may be attacked: see `audit`."""


def audit(
    model: Target,
    /,
    *,
    members: Images | None = None,
    holdouts: Images | None = None,
    attack: str = "stat",
    t_sec: int | None = None,
    key: str | None = None,
    logger: str = "none",
    **settings: Setting,
) -> AuditResult:
    """Ask how well an attack tells a model's training images from others: `python -m secmi_exp` as a function.

    The run is the command's, with the same configuration, store and results folder. Nothing is printed apart from
    progress bars, which ``trainer={"progress_bar": False}`` leaves out.

    Args:
        model: the folder of a pipeline or a repository of the hub, as for ``target.path``, or another file or folder
            that ``target=`` says how to read; a name of the configuration, such as ``ddpm_small``, which is trained on
            the members; a pipeline of diffusers in memory, or its network alone; a `NoisePredictor`, or of any other
            function a `NoiseFunction`.
        members: images that the model was trained on: a folder, a list of PIL images, uint8 [n, H, W, C] of numpy, a
            tensor [n, C, H, W], or a `datasets.Dataset`; see `secmi_exp.api.given_images.locate`. Images in memory that
            have one size are attacked in that size.
        holdouts: as many or more that it was not. Both are left out where ``dataset=`` names a dataset.
        attack: a name of the configuration.
        t_sec: the highest timestep queried; None: the configuration's, 100 for images of one's own.
        key: of a `NoisePredictor`: a name for its code, under which results are kept. Its registered weights are
            compared besides; give another name whenever anything else of it changes. Without one, nothing that is
            computed is kept for later calls.
        logger: ``none``, ``csv`` or ``wandb``.
        settings: any others: ``dataset="digits"`` chooses from a group, ``target={"input_range": [0, 1]}`` or
            ``**{"target.input_range": [0, 1]}`` sets values.

    Raises:
        UserError: for whatever the command would refuse, with the same sentence.
    """
    sides = {"members": members, "holdouts": holdouts}
    missing = [name for name, images in sides.items() if images is None]
    if len(missing) == 1:
        hint = misspelt(missing, settings)
        raise UserError(f"{missing[0]} are missing{hint}: an audit compares members with hold-outs.")
    if missing and not isinstance(settings.get("dataset"), str) and "experiment" not in settings:
        raise UserError(
            f"There are no images{misspelt(missing, settings)}: give members and holdouts, or a dataset by name, as in "
            "dataset='digits'."
        )
    attacked = {"attack": attack, **({} if t_sec is None else {"attack.t_sec": t_sec}), "logger": logger}
    given = list(overrides({**attacked, **settings}))
    choices = chosen(model, settings, own_images=members is not None)
    with named_target(model, key, [*choices, *given]) as (store, named):
        if members is not None and holdouts is not None:
            upright = dataset_setting(settings, "exif") == "apply"
            both = [
                locate(each, name, store, upright=upright)
                for each, name in ((members, "members"), (holdouts, "holdouts"))
            ]
            named += overrides({"dataset.members": both[0].path, "dataset.holdout": both[1].path})
            named += shape_overrides(both, settings)
        return load(run_job([*choices, *named, *given]))


def misspelt(missing: Sequence[str], settings: Mapping[str, Setting]) -> str:
    """What to add to a message about arguments that are missing, where settings have nearly their names."""
    close = [(name, each) for name in missing for each in difflib.get_close_matches(name, settings, n=1)]
    return f" ({', '.join(f'{each}= must be called {name}=' for name, each in close)})" if close else ""


def t_errors(
    model: Target, images: Images, /, *, t_sec: int | None = None, key: str | None = None, **settings: Setting
) -> NDArray[np.float32]:
    """SecMI's t-error of each image, for which nobody need know who is a member: smaller, more likely a member.

    They are those that a run computes, and are taken from the store where a run has computed them.

    Args:
        model: see `audit`; one that is trained on its members can't be given by its name.
        images: n images; see `audit`.
        t_sec: the highest timestep queried; None: the configuration's, 100.
        key: see `audit`.
        settings: see `audit`.

    Returns:
        [n], in the order of the images; of a folder's, in the order of their sorted names. NaN for an image that can't
        be read, where ``dataset={"on_error": "skip"}`` leaves those out.

    Raises:
        UserError: as for `audit`.
    """
    if "attack" in settings:
        raise UserError(f"attack={settings['attack']} has no use here: t-errors are SecMI's; leave it out.")
    given = list(overrides({"attack": "stat", **({} if t_sec is None else {"attack.t_sec": t_sec}), **settings}))
    choices = chosen(model, settings, own_images=True)
    with named_target(model, key, [*choices, *given]) as (store, named):
        located = locate(images, "images", store, upright=dataset_setting(settings, "exif") == "apply")
        named += [*overrides({"dataset.path": located.path}), *shape_overrides([located], settings)]
        return measured_t_errors([*choices, *named, *given])


def measured_t_errors(arguments: list[str]) -> NDArray[np.float32]:
    """The t-errors of all images of the dataset that a job's overrides name."""
    with explained(arguments):
        config = compose_job(arguments)
        refuse_wrong_types(config)
        prepared = prepare(config)
    parts, store = prepared.parts, prepared.store
    if parts.target.trained_here:
        raise UserError(
            f"target={parts.target.name} is trained on members, and t_errors knows none: give a trained model, such as "
            "the target_folder of a run's results."
        )
    assert parts.attack
    try:
        with explained(arguments, started=True):
            whole = parts.dataset.load(store, progress_bar=parts.runtime.progress_bar)
            images = whole.select(np.flatnonzero(whole.readable))
            target = parts.target.prepare(images, store, parts.runtime, lambda: None)
            measured = parts.attack.measure(target, images, store, parts.runtime)
            refuse_non_finite_values("attack=stat", measured, images, target, store, parts.runtime)
            store.delete_tallies()
    finally:
        end_rank_group()
    values = np.full(len(whole), np.nan, np.float32)
    values[whole.readable] = measured.numbers["t_error"]
    return values


def chosen(model: Target, settings: Mapping[str, Setting], *, own_images: bool) -> list[str]:
    """The choices of target and dataset that the arguments imply, where the settings make none."""
    choices = {}
    if not isinstance(settings.get("target"), str):
        given = "given" if isinstance(model, NoisePredictor) else "pipeline"
        choices["target"] = str(model) if names_target(model) else given
    if own_images and not isinstance(settings.get("dataset"), str):
        choices["dataset"] = "image_folder"
    return list(overrides(choices))


def names_target(model: Target) -> bool:
    """Whether it is the name of a target of the configuration, and no folder of that name is there."""
    return isinstance(model, str) and model in ConfigFolders(CONF).choices("target") and not Path(model).exists()


@contextmanager
def named_target(model: Target, key: str | None, arguments: list[str]) -> Iterator[tuple[OpenStore, list[str]]]:
    """What opens the store of a job with these overrides, and further ones that name its target.

    A predictor without a key gets one that nothing else has, and a store that ends with the job: what is kept under
    such a key could never be found again.
    """
    with ExitStack() as stack:
        named: list[str] = []
        if isinstance(model, NoisePredictor):
            unique = key or f"unnamed-{uuid.uuid4().hex}"
            stack.enter_context(hand_over(model, unique))
            named += overrides({"target.key": unique})
            if not key:
                named += overrides({"paths.store": stack.enter_context(temporary_folder())})
        elif key is not None:
            raise UserError(
                f"key={key} has no use here: pipelines and files are recognised by their content; leave it out."
            )
        store = cache(partial(store_of, (*arguments, *named)))
        if isinstance(model, str | PathLike) and not names_target(model):
            named += overrides({"target.path": fspath(model)})
        elif not isinstance(model, str | PathLike | NoisePredictor):
            named += overrides({"target.path": kept_pipeline(model, store())})
        yield store, named


@contextmanager
def temporary_folder() -> Iterator[str]:
    """A folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="secmi_exp_", ignore_cleanup_errors=True) as folder:
        yield folder


def store_of(arguments: Sequence[str]) -> Store:
    """The store that a job would use."""
    general = General.from_config(compose_job(arguments))
    return Store(general.paths.store, verify=general.store.verify)


def kept_pipeline(pipeline: Any, store: Store) -> Path:
    """The folder in the store that a pipeline in memory is saved to, or its network.

    Raises:
        UserError: for any other object.
    """
    if isinstance(pipeline, SavesPretrained):
        return keep(
            store,
            "given_pipeline",
            "pipeline",
            lambda folder: pipeline.save_pretrained(str(folder), safe_serialization=True),
        )
    if callable(pipeline):
        raise UserError(
            "A function alone doesn't say what noise it was trained on: give secmi_exp.NoiseFunction(function, "
            "alphas_cumprod)."
        )
    raise UserError(
        f"The target is of type {type(pipeline).__name__}: give a path, a repository of the hub, a pipeline of "
        "diffusers, or a secmi_exp.NoiseFunction."
    )


def dataset_setting(settings: Mapping[str, Setting], name: str) -> Setting:
    """A value that the settings give of the dataset; None where they give none."""
    dataset = settings.get("dataset")
    return settings.get(f"dataset.{name}", dataset.get(name) if isinstance(dataset, Mapping) else None)


def shape_overrides(located: Sequence[Located], settings: Mapping[str, Setting]) -> Iterator[str]:
    """The overrides that leave images in memory in their size, unless the settings name one, or a dataset."""
    if isinstance(settings.get("dataset"), str) or dataset_setting(settings, "image_size") is not None:
        return
    if shape := common_shape(located):
        channels, height, width = shape
        size = height if height == width else [height, width]
        yield from overrides({"dataset.image_size": size, "dataset.channels": channels})
