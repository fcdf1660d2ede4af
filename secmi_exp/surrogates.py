"""Surrogate hold-outs in a run: what the target generates for them, and the answer that they allow.

See `secmi_exp.evaluation.excess` for what is judged, and `secmi_exp.data.augmented` for those made of the collection.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from secmi_exp.attacks.attack import Attack, TargetFree
from secmi_exp.attacks.scorers.scorer import LearnedScorer, Scores
from secmi_exp.attacks.signals.samples import Sampling
from secmi_exp.configuration.components import Components
from secmi_exp.data.image_folder import ImageFolder
from secmi_exp.data.images import Images, ImageSet, Rows
from secmi_exp.data.samples import ArraySamples, Sides
from secmi_exp.errors import UserError
from secmi_exp.evaluation.excess import MOST_BLIND, Answer, Contrast, Kind, Verdict, answer
from secmi_exp.files.strict_json import Json
from secmi_exp.run_state import Run
from secmi_exp.run_warnings import warn
from secmi_exp.split_checks.blind_views import of_collections
from secmi_exp.split_checks.split_check import kept_scores
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget

MADE: Mapping[Kind, str] = {
    "references": "references instead of images like the collection",
    "generated": "samples of the target",
    "augmented": "made of the collection itself",
}


def load_images(parts: Components, store: Store) -> ImageSet:
    """Load a run's images, with hold-outs that the target generates where the dataset asks for them.

    Raises:
        UserError: where the images can't be had, and for surrogates that don't go with target or attack.
    """
    dataset, progress_bar = parts.dataset, parts.runtime.progress_bar
    if not isinstance(dataset, ImageFolder) or not dataset.surrogates:
        return dataset.load(store, progress_bar=progress_bar)
    if parts.attack and isinstance(parts.attack.scorers[parts.attack.name], LearnedScorer):
        raise UserError(
            f"attack={parts.attack.name} is fitted to tell members from hold-outs, and with "
            f"dataset.holdout={dataset.surrogates} it would learn how surrogates differ: choose an attack that fits "
            "nothing, such as attack=stat."
        )
    if dataset.surrogates != "generated":
        return dataset.load(store, progress_bar=progress_bar)
    if parts.target.trained_here:
        raise UserError(
            f"dataset.holdout=generated asks for samples of a target that was trained before, and target="
            f"{parts.target.name} is trained in the run: give it by its path, such as target=diffusers target.path=…."
        )
    collection = alone(dataset, "members").load(store, progress_bar=progress_bar)
    samples = with_generated(parts, dataset, collection, store)
    return dataset.load_samples(samples, store, progress_bar=progress_bar)


def alone(dataset: ImageFolder, side: str) -> ImageFolder:
    """Describe one side of a dataset, ``members`` or ``references``, as a dataset of its own."""
    return replace(dataset, path=getattr(dataset, side), members=None, holdout=None, references=None)


def with_generated(parts: Components, dataset: ImageFolder, collection: ImageSet, store: Store) -> Sides:
    """Members, and as many samples of the target.

    Raises:
        UserError: for a target that can't be sampled.
    """
    sampling = Sampling(len(collection), dataset.steps, dataset.seed, "dataset", "dataset.holdout=generated")
    sampling.check(parts.target.timesteps)
    sampling.check_space(parts.target.input_space)
    images = collection.select(np.flatnonzero(collection.readable))
    target = parts.target.prepare(images, store, parts.runtime, lambda: None)
    drawn = sampling.draw(target, images, store, parts.runtime)

    def pixels() -> NDArray[np.uint8]:
        """[n, H, W] or [n, H, W, 3]."""
        rows = np.moveaxis(np.asarray(drawn.pixels[slice(0, len(collection))]), 1, -1)
        return rows[..., 0] if rows.shape[-1] == 1 else rows

    members = alone(dataset, "members").samples()
    fingerprint = hashlib.sha256(repr(drawn.key).encode()).hexdigest()
    return Sides(members, ArraySamples("generated", fingerprint, pixels))


def judge_surrogates(
    run: Run, attack: Attack, target: PreparedTarget | None, scores: Scores
) -> Mapping[str, Json] | None:
    """Answer whether the collection was used, and warn that other figures measure no leak; None without surrogates.

    Args:
        run: the run; all of its attacked images are judged, as the attack is fitted to nothing.
        attack: the run's attack.
        target: None for an attack that queries none, which gives no answer.
        scores: scores of the attacked images by the attack's own scorer.

    Raises:
        UserError: where references can't be read or scored.
    """
    dataset = run.parts.dataset
    if not isinstance(dataset, ImageFolder) or not dataset.surrogates or not target or isinstance(attack, TargetFree):
        return None
    kind = dataset.surrogates
    facts: dict[str, Json] = {"kind": kind, "limit": MOST_BLIND[kind]}
    if not dataset.references:
        given: Answer | None = None
        goes_by = ""
        verdict, why = Verdict.CANNOT_TELL, (
            "a target finds such images easier or harder than real ones without having seen either; give images that "
            "are certainly not in the training set as dataset.references, with which the same is done"
        )  # fmt: skip
    else:
        found, control, blind = contrasts(run, attack, target, scores, dataset)
        given = answer(kind, found, control, blind)
        images, references = int(blind.first.sum()), int((~blind.first).sum())
        facts |= {"images": images, "references": references}
        verdict, why = given.verdict, reason(kind, given)
        goes_by = (
            f" The verdict goes by all {images} attacked images and by {references} references, AUC by the evaluation "
            "part."
        )
    warn(
        "surrogate_holdouts",
        f"The hold-outs are surrogates, {MADE[kind]}, so that AUC and the figures beside it measure no leak. Was the "
        f"collection used? {verdict.capitalize()}: {why}.{goes_by}",
        side="holdouts",
        grave=True,
    )
    fields: dict[str, Json] = {**facts, "verdict": str(verdict), "why": why, "excess": None, "blind": None}
    if given:
        fields["blind"] = {"auc": given.blind_auc, "ci95": list(given.blind_ci95)}
        if given.excess:
            fields["excess"] = {**asdict(given.excess), "ci90": list(given.excess.ci90)}
    return fields


def reason(kind: Kind, given: Answer) -> str:
    """Why a verdict is as it is, as the end of a sentence."""
    low, high = given.blind_ci95
    blind = f"AUC {given.blind_auc:.3f} [{low:.3f}, {high:.3f}]"
    if not given.excess:
        return (
            f"a classifier that never sees the target may tell the collection from the references too well ({blind}, "
            f"where the interval's end may be {MOST_BLIND[kind]} at most): give references that are more like the "
            "collection, or more of both"
        )
    (low, high), p_value = given.excess.ci90, given.excess.p_value
    expected = {
        "references": "a classifier that never sees the target",
        "generated": "on references, and than a classifier that never sees the target",
        "augmented": "on references that were treated in the same way",
    }[kind]
    finding = (
        f"the attack's AUC lies {given.excess.value:.3f} [{low:.3f}, {high:.3f}] above what is expected without "
        f"membership (90% interval, one-sided p = {p_value:.2g}), that is, it finds more than {expected}"
        if given.verdict is Verdict.USED
        else f"the attack's AUC lies {given.excess.value:.3f} [{low:.3f}, {high:.3f}] above what is expected without "
        f"membership (90% interval, one-sided p = {p_value:.2g}), which is no proof that it was not used"
    )
    return f"{finding}; this holds if the target would treat collection and references alike without having seen either"


def contrasts(
    run: Run, attack: Attack, target: PreparedTarget, scores: Scores, dataset: ImageFolder
) -> tuple[Contrast, Contrast | None, Contrast]:
    """The arguments of `answer`: found, control, blind."""
    split = run.split
    found = Contrast(scores, split.is_member, groups(dataset, len(run.images), split.attacked))
    collection = run.images.select(split.attacked[split.is_member])
    if dataset.surrogates == "references":
        references = run.images.select(split.attacked[~split.is_member])
        order = np.concatenate([np.flatnonzero(split.is_member), np.flatnonzero(~split.is_member)])
        return found, None, blind_contrast(run, collection, references, split.attacked[order])
    treated, real = load_references(dataset, run)
    measured = attack.measure(target, treated, run.store, run.parts.runtime)
    scorer = attack.scorers[attack.name]
    assert not isinstance(scorer, LearnedScorer)  # see load_images
    reference_scores = scorer.score(measured)
    beyond = len(run.images)  # numbers of groups, apart from those of the run's images
    numbers = np.arange(beyond, beyond + len(real))
    if dataset.surrogates == "augmented":
        control = Contrast(reference_scores, np.repeat([True, False], len(real)), np.tile(numbers, 2))
    else:
        surrogates, theirs = scores[~split.is_member], split.attacked[~split.is_member]
        control = Contrast(
            np.concatenate([reference_scores, surrogates]),
            np.repeat([True, False], [len(real), len(surrogates)]),
            np.concatenate([numbers, theirs]),
        )
    rows = np.concatenate([split.attacked[split.is_member], numbers])
    return found, control, blind_contrast(run, collection, real, rows)


def groups(dataset: ImageFolder, count: int, rows: Rows) -> Rows:
    """Numbers of the images that rows depend on; an augmented hold-out has that of its original, half the set before.

    Args:
        dataset: of the images.
        count: images of the whole set, the members first.
        rows: of the set, [n].
    """
    return rows % (count // 2) if dataset.surrogates == "augmented" else rows


def load_references(dataset: ImageFolder, run: Run) -> tuple[Images, Images]:
    """References with what was made of them, as many after them; and the references alone.

    Raises:
        UserError: where they can't be read.
    """
    progress_bar = run.parts.runtime.progress_bar
    if dataset.surrogates == "generated":
        images = alone(dataset, "references").load(run.store, progress_bar=progress_bar)
        real = images.select(np.flatnonzero(images.readable))
        return real, real
    assert dataset.references is not None
    treated = replace(dataset, members=dataset.references, references=None)
    images = treated.load(run.store, progress_bar=progress_bar)
    readable = np.flatnonzero(images.readable[: len(images) // 2])
    return images.select(np.concatenate([readable, readable + len(images) // 2])), images.select(readable)


def blind_contrast(run: Run, collection: Images, references: Images, rows: Rows) -> Contrast:
    """Scores of collection and references by a cross-fitted classifier that never sees the target."""
    first = np.repeat([True, False], [len(collection), len(references)])
    scores = kept_scores(of_collections(collection, references), first, run.parts.general.seed, run.store)
    return Contrast(scores, first, groups_of(run, rows))


def groups_of(run: Run, rows: Rows) -> Rows:
    """See `groups`; rows beyond the run's images are numbers already."""
    dataset, count = run.parts.dataset, len(run.images)
    assert isinstance(dataset, ImageFolder)
    return np.where(rows < count, groups(dataset, count, rows), rows)
