"""Whether the captions and class labels that a target is queried with were found on both sides of a split."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from secmi_exp.data.dataset import Dataset
from secmi_exp.data.folder_contents import METADATA, FolderContents
from secmi_exp.data.image_folder import ImageFolder
from secmi_exp.data.images import Images, ImageSet
from secmi_exp.data.split import Split
from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.regular import is_folder
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import Side, warn
from secmi_exp.targets.interface import Target
from secmi_exp.targets.labels import ClassConditional

fisher_exact = Deferred("scipy.stats:fisher_exact")

SIGNIFICANT = 0.01
"""Two-sided p-value, at most, of shares of images with a caption or label that differ between the sides."""
NAMES: Mapping[Side, str] = {"members": "members", "holdouts": "hold-outs"}


@dataclass(frozen=True)
class Condition:
    """Something of the dataset that a target is queried with besides an image."""

    name: str
    """In the plural, as `Target.conditions`, results.json and the codes of warnings have it."""
    singular: str
    of: Callable[[Images], Sequence[object]]
    """What each image has, None where it has none, [n]."""
    instead: str
    """What an image without one is queried with."""
    queries: str
    """The part of a query that it is."""
    advice: str
    """The setting of a target that needs none."""
    column: str
    """The dataset's setting for the column that it is in."""
    telling: Sequence[str]
    """Words in the names of files that probably hold it."""


CONDITIONS = {
    each.name: each
    for each in (
        Condition(
            "captions",
            "caption",
            lambda images: images.texts,
            "the empty prompt",
            "prompts",
            "set target.prompt to none, blip or fixed",
            "caption_column",
            ("metadata", "caption", "prompt", "annotation"),
        ),
        Condition(
            "labels",
            "class label",
            lambda images: images.classes,
            "the unconditional class",
            "labels",
            "set target.label to none or a class for all",
            "label_column",
            ("metadata", "label", "class", "annotation"),
        ),
    )
}
"""Name → what is known of it."""


@dataclass(frozen=True)
class Found:
    """How many attacked images of a side have a caption, or a label."""

    side: Side
    found: int
    missing: int

    def __str__(self) -> str:
        return f"{self.found} of {self.found + self.missing} {NAMES[self.side]}"


def count(condition: Condition, split: Split, images: ImageSet) -> tuple[Found, Found]:
    """Count what the attacked members and hold-outs have of it."""
    has = np.array([each is not None for each in condition.of(images.select(split.attacked))], dtype=bool)
    members, holdouts = has[split.is_member], has[~split.is_member]
    return (
        Found("members", int(members.sum()), int((~members).sum())),
        Found("holdouts", int(holdouts.sum()), int((~holdouts).sum())),
    )


def condition_facts(split: Split, images: ImageSet, queried: Collection[str]) -> dict[str, Json]:
    """The numbers of captions and labels of the attacked images, for results.json.

    Args:
        split: of the images.
        images: all of them; captions are counted where the dataset has any.
        queried: `Target.conditions`; labels, which would have to be read, are counted where they are among them.
    """
    known = {"captions": images.captions is not None, "labels": "labels" in queried and images.labels is not None}
    counts = {name: count(CONDITIONS[name], split, images) for name in known if known[name]}
    return {
        name: {each.side: {"found": each.found, "missing": each.missing} for each in sides}
        for name, sides in counts.items()
    }


def check_conditions(target: Target, split: Split, images: ImageSet, dataset: Dataset) -> None:
    """Refuse what the target can't be queried with, or one side has lost, and warn of what is missing.

    Raises:
        UserError: before anything is computed; see `LabelQuery.labels_of` and `check_condition`.
    """
    if isinstance(target, ClassConditional) and target.label_query:
        target.label_query.labels_of(images.select(split.attacked))
    for name, condition in CONDITIONS.items():
        if name in target.conditions:
            check_condition(condition, split, images, dataset)


def check_condition(condition: Condition, split: Split, images: ImageSet, dataset: Dataset) -> None:
    """Refuse captions or labels that were lost on one side, and warn of those that are missing.

    What has none is queried with the empty prompt or the unconditional class, so that an attack would tell the sides
    apart by that.

    Raises:
        UserError: where most images of a side have one and none of the other.
    """
    counts = count(condition, split, images)
    poor, rich = sorted(counts, key=lambda each: each.found / (each.found + each.missing))
    if not rich.found:  # whoever makes conditions of them says so
        return
    if not poor.found and rich.found >= rich.missing:
        raise UserError(
            f"{rich} have a {condition.singular}, and none of the {poor.missing} {NAMES[poor.side]} has one, so that "
            f"the {condition.queries} alone would tell them apart: {where_to_look(condition, poor.side, dataset)}, or "
            f"{condition.advice}."
        )
    if p_value(poor, rich) <= SIGNIFICANT:
        warn(
            f"{condition.name}_differ_by_side",
            f"{poor} and {rich} have a {condition.singular}; the others get {condition.instead}, and an attack may "
            f"tell the sides apart by that: {where_to_look(condition, poor.side, dataset)}, or {condition.advice}.",
            side=poor.side,
            count=poor.missing,
            grave=True,
        )
        return
    for each in counts:
        if each.missing:
            warn(
                f"{condition.name}_missing",
                f"{each.missing} of the {each.found + each.missing} attacked {NAMES[each.side]} have no "
                f"{condition.singular}, and get {condition.instead} instead.",
                side=each.side,
                count=each.missing,
            )


def p_value(first: Found, second: Found) -> float:
    """The two-sided p-value of Fisher's exact test that both sides have something equally often."""
    if not first.missing + second.missing:
        return 1.0
    return float(fisher_exact([[first.found, first.missing], [second.found, second.missing]]).pvalue)


def where_to_look(condition: Condition, side: Side, dataset: Dataset) -> str:
    """Say where a side's captions or labels may be, as the beginning of a sentence that advises what to do."""
    theirs = f"the {condition.name} of the {NAMES[side]}"
    if not isinstance(dataset, ImageFolder):
        return f"add {theirs}"
    place = (dataset.members if side == "members" else dataset.holdout_path) or dataset.path
    unread = FolderContents.from_folder(place).unread_tables if place and is_folder(place) else []
    if not place or not unread:
        column = f"the column dataset.{condition.column}={getattr(dataset, condition.column)}"
        return f"none were found in {place}, so see that {theirs} are there in a layout that is read, in {column}"
    first = min(unread, key=lambda name: not any(word in name.lower() for word in condition.telling))
    read = f"{', '.join(METADATA[:-1])} or {METADATA[-1]}"
    return f"if {theirs} are in {place / first}, which isn't read, make it a {read}"
