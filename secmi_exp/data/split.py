"""Who is a member, who is a hold-out, and which of them an attack may learn from."""

import logging
from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pydantic.dataclasses
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, NonNegativeInt

from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.images import ImageSet, Rows
from secmi_exp.data.index_files import read_indices
from secmi_exp.data.membership import Statement, refuse_contradiction
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json

log = logging.getLogger(__name__)

MOST_A_SIDE = 2**40
"""Samples, far more than anybody has: where the search for a sufficient number ends."""


class Part(StrEnum):
    """The use of an attacked sample; each sample has one."""

    FIT = "attack_train"
    """The attack may be fitted on it."""
    CALIBRATION = "calibration"
    """Also of the attack-train part, but nothing is fitted on it: thresholds are set here."""
    EVALUATION = "evaluation"
    """The attack is judged on it, and nothing else sees its label."""


@dataclass(frozen=True)
class Split:
    """Rows of the dataset by membership, and the samples that are attacked."""

    members: Rows
    """The target's training set, ascending."""
    holdouts: Rows
    """Disjoint from the members, ascending."""
    attacked: Rows
    """As many members as hold-outs, or more hold-outs where the rule says so; in dataset order, so that the order tells
    nothing of the membership. [n]"""
    is_member: NDArray[np.bool_]
    """[n], aligned with ``attacked``."""
    part: NDArray[np.str_]
    """[n], the `Part` of each, aligned with ``attacked``; copies of one image on a side share a part where they fit."""
    drawn: bool
    """Whether the membership was drawn at random, so that it holds for a target trained on it and for no other."""
    by_coins: bool = False
    """Whether each attacked sample is a member by a fair coin of its own: canaries."""
    drawn_together: int = 0
    """Attacked samples whose membership was drawn together with that of others, in groups that look alike."""

    def of_part(self, *parts: Part) -> NDArray[np.bool_]:
        """Mask over ``attacked``, [n]."""
        return np.isin(self.part, [str(part) for part in parts])

    def save(self, path: Path) -> None:
        """Write members and hold-outs in the format of the authors' split files."""
        ratio = len(self.members) / (len(self.members) + len(self.holdouts))
        np.savez(path, mia_train_idxs=self.members, mia_eval_idxs=self.holdouts, ratio=ratio)


def kept_together(members: Rows, holdouts: Rows, alike: Rows, *, drawn: bool) -> tuple[Rows, Rows]:
    """Sides on which images that are alike lie on one side.

    Where the membership is drawn, whole groups are, in the order of their first image, as they fit; without groups the
    sides are as given. Where it is stated, or a group is too large for both, what can't be kept together is left out:
    hold-outs that are like a member.

    Args:
        members: in random order.
        holdouts: in random order.
        alike: a number for each image of the dataset, the same for those that are alike, [N].
        drawn: whether the membership may be changed.

    Raises:
        UserError: where no hold-outs are left.
    """
    if drawn:
        groups: dict[int, list[int]] = {}
        for row in np.concatenate([members, holdouts]).tolist():
            groups.setdefault(int(alike[row]), []).append(row)
        free = [len(members), len(holdouts)]
        sides: list[list[int]] = [[], []]
        for group in groups.values():
            side = next((side for side in (0, 1) if free[side] >= len(group)), None)
            if side is not None:
                sides[side].extend(group)
                free[side] -= len(group)
        members, holdouts = (np.array(side, dtype=np.int64) for side in sides)
    holdouts = holdouts[~np.isin(alike[holdouts], alike[members])]
    if not (len(members) and len(holdouts)):
        raise UserError(
            "split.near_duplicates=group leaves no hold-outs, or no members, that look unlike the other side: set "
            "split.near_duplicates=report, raise split.similarity where split.inception is given, or give other images."
        )
    return members, holdouts


def in_groups(alike: Rows) -> int:
    """How many of some images are alike to another one of them.

    >>> in_groups(np.array([3, 1, 3, 0, 3]))
    3
    """
    sizes = np.unique(alike, return_counts=True)[1]
    return int(sizes[sizes > 1].sum())


def readable(rows: Rows, images: ImageSet, side: str) -> Rows:
    """The rows that could be read.

    Args:
        rows: of a side, or of all images.
        images: all of them.
        side: name of these images, for the message.

    Raises:
        UserError: where there are rows, and none of them could be read.
    """
    kept = rows[images.readable[rows]]
    if len(rows) and not len(kept):
        first = int(rows[0])
        raise UserError(
            f"None of the {len(rows)} {side} can be read, the first of them is {images.ids[first]} "
            f"({images.unreadable[first]}): give images that can be read."
        )
    return kept


def refuse_other_sides(members: Rows, holdouts: Rows, images: ImageSet) -> None:
    """Refuse sides that contradict the membership that the dataset states.

    Raises:
        UserError: naming the first image that they disagree on.
    """
    if images.is_member is None:
        return
    rows = np.sort(np.concatenate([members, holdouts]))
    refuse_contradiction(
        Statement("the split", np.isin(rows, members)),
        Statement("the dataset", images.is_member[rows]),
        [images.ids[row] for row in rows],
        "leave one of the two statements out, or mend it",
    )


def split_facts(split: Split, images: ImageSet) -> dict[str, Json]:
    """How many samples the split has of each kind; logs it."""
    share = (len(split.members) + len(split.holdouts)) / len(images)
    log.info(
        "%d members and %d hold-outs, %.1f%% of the dataset's %d images.",
        len(split.members), len(split.holdouts), 100 * share, len(images),
    )  # fmt: skip
    return {
        "members": len(split.members),
        "holdouts": len(split.holdouts),
        "attacked": len(split.attacked),
        "attack_train": int(split.of_part(Part.FIT, Part.CALIBRATION).sum()),
        "evaluation": int(split.of_part(Part.EVALUATION).sum()),
        "share_of_dataset": share,
        "unreadable": len(images.unreadable),
    }


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SplitRule(ABC):
    """The base class of rules for splits, which the files in ``conf/split`` name."""

    attack_train: Annotated[float, Field(ge=0, lt=1)]
    """0: no attack-train part, all attacked samples judge the attack."""
    calibration: Annotated[float, Field(gt=0, lt=1)]
    all_holdouts: bool
    """Whether all hold-outs are attacked; otherwise as many as members. Those beyond are of the evaluation part."""
    seed: NonNegativeInt
    attack_train_seed: NonNegativeInt | None
    """Draws the parts anew, with members, hold-outs and what is attacked as they are; None: drawn with them."""
    near_duplicates: Literal["off", "report", "group"] = "report"
    """Whether images that look alike are not looked for, only counted, or also kept on one side and in one part."""
    inception: UserPath | None = None
    """Inception's weights, for images that a perceptual hash doesn't take to be alike."""
    similarity: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Cosine of Inception's features from which on two images are alike."""

    def check(self) -> None:
        """Refuse settings before anything is computed.

        Raises:
            UserError: for weights that aren't there, or that nothing would read.
        """
        if self.inception and self.near_duplicates == "off":
            raise UserError(
                "split.inception is given, and split.near_duplicates=off looks for no images that are alike: set that "
                "to report or group, or split.inception=null."
            )
        if self.inception and not self.inception.is_file():
            raise UserError(f"split.inception={self.inception} is no file: set it to Inception's weights, or to null.")

    @abstractmethod
    def sides(self, images: ImageSet, random: np.random.Generator) -> tuple[Rows, Rows, bool]:
        """Members and hold-outs in random order, and whether the membership itself was drawn at random.

        Raises:
            UserError: where the images can't be split that way.
        """

    def split(self, images: ImageSet, alike: Rows | None = None) -> Split:
        """Split a dataset, and choose what is attacked.

        Args:
            images: all of them.
            alike: a number for each image, the same for those that are to lie on one side and in one part, [N]; None:
                images of equal pixels share a part where they fit, and lie on the side that is drawn or stated.

        Raises:
            UserError: for an empty side, and for sides that the dataset lacks or contradicts.
        """
        members, holdouts, drawn = self.sides(images, np.random.default_rng(self.seed))
        refuse_other_sides(members, holdouts, images)
        if alike is not None:
            members, holdouts = kept_together(members, holdouts, alike, drawn=drawn)
        per_side = min(len(members), len(holdouts))
        sides = [members[:per_side], holdouts if self.all_holdouts else holdouts[:per_side]]
        if self.attack_train_seed is not None:
            random = np.random.default_rng(self.attack_train_seed)
            sides = [random.permutation(side) for side in sides]
        attacked = np.concatenate(sides)
        ascending = np.argsort(attacked)
        together = images.content if alike is None else alike
        parts = [self._parts(together[side], per_side) for side in sides]
        return Split(
            members=np.sort(members),
            holdouts=np.sort(holdouts),
            attacked=attacked[ascending],
            is_member=np.repeat([True, False], [len(side) for side in sides])[ascending],
            part=np.concatenate(parts)[ascending],
            drawn=drawn,
            drawn_together=in_groups(alike[attacked]) if drawn and alike is not None else 0,
        )

    def _parts(self, content: Rows, per_side: int) -> NDArray[np.str_]:
        """The part of each image of a side, which come in random order; without copies, as the order has them.

        Where a part would be empty, there is no attack-train part at all, and all are of the evaluation part.

        Args:
            content: numbers that tell which images are copies of each other, or alike, [n].
            per_side: samples that the parts' sizes follow from; those beyond are of the evaluation part.
        """
        free = self._sizes(per_side)
        if min(free.values()) < 1:
            free = {Part.EVALUATION: per_side}
        free[Part.EVALUATION] += len(content) - per_side
        if len(np.unique(content)) == len(content):
            return np.repeat(np.array([*free], dtype="<U16"), [*free.values()])
        copies: dict[int, list[int]] = {}
        for position, number in enumerate(content.tolist()):
            copies.setdefault(number, []).append(position)
        part = np.empty(len(content), dtype="<U16")
        for positions in copies.values():
            whole = [name for name in free if free[name] >= len(positions)]
            for position in positions:
                name = whole[0] if whole else next(name for name in free if free[name])
                part[position] = name
                free[name] -= 1
        return part

    def _sizes(self, per_side: int) -> dict[Part, int]:
        """How many of a side's images each part gets."""
        n_train = round(self.attack_train * per_side)
        n_calibration = round(self.calibration * n_train)
        return {
            Part.CALIBRATION: n_calibration,
            Part.FIT: n_train - n_calibration,
            Part.EVALUATION: per_side - n_train,
        }

    @property
    def least_a_side(self) -> int | None:
        """The fewest samples a side that leave an attack-train part; None where there shall be none.

        No part shrinks as the side grows.
        """
        if not self.attack_train:
            return None
        return bisect_left(range(MOST_A_SIDE), 1, lo=1, key=lambda n: min(self._sizes(n).values()))


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True)
class Halves(SplitRule):
    """Members and hold-outs drawn at random; from the sides that the dataset itself states, where it states them."""

    ratio: Annotated[float, Field(gt=0, lt=1)]
    members: int | None
    holdouts: int | None

    def sides(self, images: ImageSet, random: np.random.Generator) -> tuple[Rows, Rows, bool]:
        """See `SplitRule.sides`."""
        if images.is_member is None:
            samples = random.permutation(readable(np.arange(len(images)), images, "images of the dataset"))
            n = len(samples)
            n_members = round(self.ratio * n) if self.members is None else self.members
            n_holdouts = n - n_members if self.holdouts is None else self.holdouts
            members, holdouts = samples[: max(n_members, 0)], samples[max(n_members, 0) :]
        else:
            members, holdouts = (np.flatnonzero(images.is_member == side) for side in (True, False))
            members = random.permutation(readable(members, images, "members that the dataset states"))
            holdouts = random.permutation(readable(holdouts, images, "hold-outs that the dataset states"))
            if not (len(members) and len(holdouts)):
                raise UserError(
                    f"The dataset states {len(members)} members and {len(holdouts)} hold-outs: both sides need some."
                )
            n = len(members) + len(holdouts)
            n_members = len(members) if self.members is None else self.members
            n_holdouts = len(holdouts) if self.holdouts is None else self.holdouts
        if n_members < 1 or n_holdouts < 1:
            raise UserError(
                f"The split has an empty side, {n_members} members and {n_holdouts} hold-outs of {n} samples: "
                "set split.members, split.holdouts or split.ratio so that both have some."
            )
        if n_members > len(members) or n_holdouts > len(holdouts):
            has = f"{n} samples" if images.is_member is None else f"{len(members)} and {len(holdouts)}"
            raise UserError(
                f"The split asks for {n_members} members and {n_holdouts} hold-outs, but the dataset has {has}: "
                "lower split.members or split.holdouts."
            )
        return members[:n_members], holdouts[:n_holdouts], images.is_member is None


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True)
class Indices(SplitRule):
    """Members and hold-outs by their row in the dataset, as files list them."""

    path: UserPath | None
    members: UserPath | None
    holdouts: UserPath | None

    def sides(self, images: ImageSet, random: np.random.Generator) -> tuple[Rows, Rows, bool]:
        """See `SplitRule.sides`; rows that could not be read are left out."""
        members, holdouts = read_indices(self.path, self.members, self.holdouts, samples=len(images))
        for name, rows in (("members", members), ("hold-outs", holdouts)):
            if not len(rows):
                raise UserError(f"The split's files list no {name}: both sides need some.")
            beyond = rows[(rows < 0) | (rows >= len(images))]
            if len(beyond):
                raise UserError(
                    f"The split lists row {beyond[0]} among its {name}, but the dataset has {len(images)} samples, "
                    f"rows 0 … {len(images) - 1}: is it a split of another dataset?"
                )
            distinct, times = np.unique(rows, return_counts=True)
            if len(distinct) < len(rows):
                raise UserError(
                    f"The split lists row {distinct[times > 1][0]} {times.max()} times among its {name}: list it once."
                )
        both = np.intersect1d(members, holdouts)
        if len(both):
            raise UserError(
                f"The split lists {len(both)} rows both as members and as hold-outs, the first of them {both[0]}: "
                "the sides must be disjoint."
            )
        sides = [
            random.permutation(readable(rows, images, f"{side} that the split lists"))
            for side, rows in (("members", members), ("hold-outs", holdouts))
        ]
        return sides[0], sides[1], False
