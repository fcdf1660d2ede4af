"""Whether the captions that a target is queried with were found on both sides of a split."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from secmi_exp.data.dataset import Dataset
from secmi_exp.data.folder_contents import METADATA, FolderContents
from secmi_exp.data.image_folder import ImageFolder
from secmi_exp.data.images import ImageSet
from secmi_exp.data.split import Split
from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.regular import is_folder
from secmi_exp.run_warnings import Side, warn
from secmi_exp.store import Json

fisher_exact = Deferred("scipy.stats:fisher_exact")

SIGNIFICANT = 0.01
"""Two-sided p-value, at most, of shares of captions that differ between the sides."""
NAMES: Mapping[Side, str] = {"members": "members", "holdouts": "hold-outs"}
TELLING = ("metadata", "caption", "prompt", "annotation")
"""Words in the names of files that probably hold captions."""


@dataclass(frozen=True)
class Captioned:
    """How many attacked images of a side have a caption."""

    side: Side
    found: int
    missing: int

    def __str__(self) -> str:
        return f"{self.found} of {self.found + self.missing} {NAMES[self.side]}"


def count_captions(split: Split, images: ImageSet) -> tuple[Captioned, Captioned]:
    """Count the captions of the attacked members and hold-outs."""
    has = np.array([caption is not None for caption in images.select(split.attacked).texts], dtype=bool)
    members, holdouts = has[split.is_member], has[~split.is_member]
    return (
        Captioned("members", int(members.sum()), int((~members).sum())),
        Captioned("holdouts", int(holdouts.sum()), int((~holdouts).sum())),
    )


def caption_facts(split: Split, images: ImageSet) -> dict[str, Json]:
    """The numbers of captions of the attacked images, for results.json; empty for a dataset without captions."""
    if images.captions is None:
        return {}
    counts = count_captions(split, images)
    return {"captions": {each.side: {"found": each.found, "missing": each.missing} for each in counts}}


def check_captions(split: Split, images: ImageSet, dataset: Dataset) -> None:
    """Refuse captions that were lost on one side, and warn of those that are missing.

    For a target whose prompts are the images' captions: what has none is queried with the empty prompt, so that an
    attack would tell the sides apart by that.

    Raises:
        UserError: where most images of a side have a caption and none of the other.
    """
    counts = count_captions(split, images)
    poor, rich = sorted(counts, key=lambda each: each.found / (each.found + each.missing))
    if not rich.found:  # whoever makes prompts of them says so
        return
    if not poor.found and rich.found >= rich.missing:
        raise UserError(
            f"{rich} have a caption, and none of the {poor.missing} {NAMES[poor.side]} has one, so that the prompts "
            f"alone would tell them apart: {where_to_look(poor.side, dataset)}, or set target.prompt to none, blip or "
            "fixed."
        )
    if p_value(poor, rich) <= SIGNIFICANT:
        warn(
            "captions_differ_by_side",
            f"{poor} and {rich} have a caption; the others get the empty prompt, and an attack may tell the sides "
            f"apart by that: {where_to_look(poor.side, dataset)}, or set target.prompt to none, blip or fixed.",
            side=poor.side,
            count=poor.missing,
            grave=True,
        )
        return
    for each in counts:
        if each.missing:
            warn(
                "captions_missing",
                f"{each.missing} of the {each.found + each.missing} attacked {NAMES[each.side]} have no caption, and "
                "get the empty prompt instead.",
                side=each.side,
                count=each.missing,
            )


def p_value(first: Captioned, second: Captioned) -> float:
    """The two-sided p-value of Fisher's exact test that both sides have captions equally often."""
    if not first.missing + second.missing:
        return 1.0
    return float(fisher_exact([[first.found, first.missing], [second.found, second.missing]]).pvalue)


def where_to_look(side: Side, dataset: Dataset) -> str:
    """Say where a side's captions may be, as the beginning of a sentence that advises what to do."""
    theirs = f"the captions of the {NAMES[side]}"
    if not isinstance(dataset, ImageFolder):
        return f"add {theirs}"
    place = (dataset.members if side == "members" else dataset.holdout) or dataset.path
    unread = FolderContents.from_folder(place).unread_tables if place and is_folder(place) else []
    if not place or not unread:
        return (
            f"none were found in {place}, so see that {theirs} are there in a layout that is read, in the column "
            f"dataset.caption_column={dataset.caption_column}"
        )
    first = min(unread, key=lambda name: not any(word in name.lower() for word in TELLING))
    read = f"{', '.join(METADATA[:-1])} or {METADATA[-1]}"
    return f"if {theirs} are in {place / first}, which isn't read, make it a {read}"
