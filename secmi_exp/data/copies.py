"""Images whose pixels are those of another, or that look like it: across the sides of a split, and within a side."""

import numpy as np

from secmi_exp.data.images import ImageSet, Rows
from secmi_exp.data.near_duplicates import NearDuplicates
from secmi_exp.data.split import Part, Split
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import Side, warn


def copies_facts(split: Split, images: ImageSet, seen: Rows) -> dict[str, Json]:
    """The numbers of copies, for results.json; warns where there are any.

    Args:
        split: of the images.
        images: all of them.
        seen: rows that the target was trained on, as far as it is known; perhaps more than the split's members.
    """
    equal = copied_holdouts(split, images, seen)
    if len(equal):
        warn(
            "holdouts_equal_to_a_member",
            f"{len(equal)} hold-outs have the very pixels of a member (the first of them: {images.ids[equal[0]]}): no "
            "attack can tell them apart, and the metrics understate the leak.",
            side="holdouts",
            count=len(equal),
            grave=True,
        )
    return {
        "holdouts_equal_to_a_member": len(equal),
        "copies_within_side": {
            "members": warn_of_copies_within("members", split, images),
            "holdouts": warn_of_copies_within("holdouts", split, images),
        },
    }


def near_duplicate_facts(split: Split, images: ImageSet, near: NearDuplicates, *, grouped: bool) -> dict[str, Json]:
    """The numbers of images that look alike without equal pixels, for results.json; warns where there are any.

    Args:
        split: of the images.
        images: all of them.
        near: groups of images that are alike.
        grouped: whether the split keeps them together.
    """
    if near.untold:
        return {"untold": near.untold}
    groups = alike_rows(split, images, near)
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *groups])
    is_member = np.isin(rows, split.members)
    beside = {near.alike[row] for row in rows[is_member]}
    across = [row for row in rows[~is_member] if near.alike[row] in beside]
    if groups:
        also = f"; {len(across)} hold-outs look like a member, so that they may score like one" if across else ""
        instead = "" if grouped else ", or set split.near_duplicates=group"
        warn(
            "near_duplicates",
            f"{len(rows)} of the {len(split.members) + len(split.holdouts)} images look like another one, in "
            f"{len(groups)} group{'s' * (len(groups) > 1)} (the first: {images.ids[groups[0][0]]} and "
            f"{images.ids[groups[0][1]]}){also}: see near_duplicates.png, and give each image once{instead}.",
            count=len(rows),
        )
    return {
        "groups": len(groups),
        "members": int(is_member.sum()),
        "holdouts": int((~is_member).sum()),
        "holdouts_like_a_member": len(across),
        **({} if near.similarity is None else {"similarity": near.similarity}),
    }


def alike_rows(split: Split, images: ImageSet, near: NearDuplicates) -> list[Rows]:
    """Groups of the split's images that look alike, each image of other pixels once; the largest group first."""
    rows = np.sort(np.concatenate([split.members, split.holdouts]))
    rows = rows[np.sort(np.unique(images.content[rows], return_index=True)[1])]
    order = np.argsort(near.alike[rows], kind="stable")
    starts = np.flatnonzero(np.diff(near.alike[rows[order]], prepend=-1))
    groups = [group for group in np.split(rows[order], starts[1:]) if len(group) > 1]
    return sorted(groups, key=lambda group: -len(group))


def copied_holdouts(split: Split, images: ImageSet, seen: Rows) -> Rows:
    """Rows of the hold-outs whose pixels are those of an image that the target saw. Ascending."""
    return split.holdouts[np.isin(images.content[split.holdouts], images.content[seen])]


def warn_of_copies_within(side: Side, split: Split, images: ImageSet) -> int:
    """How many attacked images of a side have the pixels of another one of that side; warns where there are any.

    Copies of one image share a part of the split, but where none has room for them all (`Split.part`).
    """
    of_side = split.is_member == (side == "members")
    rows = split.attacked[of_side]
    _, first = np.unique(images.content[rows], return_index=True)
    repeated = np.delete(rows, first)
    if not len(repeated):
        return 0
    learned = split.of_part(Part.FIT, Part.CALIBRATION)[of_side]
    spread = int(np.isin(images.content[rows[~learned]], images.content[rows[learned]]).sum())
    consequence = "they are no independent samples, so that intervals are too narrow"
    if spread:
        consequence = f"{spread} of those that judge the attack have a copy among those that it may be fitted on"
    name = "members" if side == "members" else "hold-outs"
    warn(
        "copies_within_side",
        f"{len(repeated)} of the {len(rows)} attacked {name} have the very pixels of another one of them (the first: "
        f"{images.ids[repeated[0]]}): {consequence}; give each image once.",
        side=side,
        count=len(repeated),
        grave=spread > 0,
    )
    return len(repeated)
