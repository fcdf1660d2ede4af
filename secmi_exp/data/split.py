"""Who is a member, who is a hold-out, and which of them an attack may learn from."""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic.dataclasses
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, NonNegativeInt

from secmi_exp.data.images import ImageSet, Rows
from secmi_exp.data.index_files import read_indices
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import warn
from secmi_exp.store import Json

log = logging.getLogger(__name__)


class Part(StrEnum):
    """What an attacked sample is used for; each sample has one part."""

    FIT = "attack_train"
    """The attack may be fitted on it."""
    CALIBRATION = "calibration"
    """Also of the attack-train part, but nothing is fitted on it: thresholds are set here."""
    EVALUATION = "evaluation"
    """The attack is judged on it, and nothing else sees its label."""


@dataclass(frozen=True)
class Split:
    """Rows of the dataset by membership, and the balanced set of samples that is attacked."""

    members: Rows
    """The target's training set, ascending."""
    holdouts: Rows
    """Disjoint from the members, ascending."""
    attacked: Rows
    """As many members as hold-outs, in dataset order, so that the order tells nothing of the membership. [n]"""
    is_member: NDArray[np.bool_]
    """[n], aligned with ``attacked``."""
    part: NDArray[np.str_]
    """[n], the `Part` of each, aligned with ``attacked``."""
    drawn: bool
    """Whether the membership was drawn at random, so that it holds for a target trained on it and for no other."""

    def of_part(self, *parts: Part) -> NDArray[np.bool_]:
        """Mask over ``attacked``, [n]."""
        return np.isin(self.part, [str(part) for part in parts])

    def save(self, path: Path) -> None:
        """Write members and hold-outs in the format of the authors' split files."""
        ratio = len(self.members) / (len(self.members) + len(self.holdouts))
        np.savez(path, mia_train_idxs=self.members, mia_eval_idxs=self.holdouts, ratio=ratio)


def duplicated_holdouts(split: Split, images: ImageSet) -> Rows:
    """Rows of the hold-outs whose pixels are those of a member: an attack can't tell them apart. Ascending."""
    content = images.digests.view(f"V{images.digests.shape[1]}").ravel()
    return split.holdouts[np.isin(content[split.holdouts], content[split.members])]


def split_facts(split: Split, images: ImageSet) -> dict[str, Json]:
    """What a reader of the results has to know of the split; logs it, and warns of what corrupts an evaluation."""
    equal = duplicated_holdouts(split, images)
    share = (len(split.members) + len(split.holdouts)) / len(images)
    log.info(
        "%d members and %d hold-outs, %.1f%% of the dataset's %d images.",
        len(split.members), len(split.holdouts), 100 * share, len(images),
    )  # fmt: skip
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
        "members": len(split.members),
        "holdouts": len(split.holdouts),
        "attacked": len(split.attacked),
        "attack_train": int(split.of_part(Part.FIT, Part.CALIBRATION).sum()),
        "evaluation": int(split.of_part(Part.EVALUATION).sum()),
        "share_of_dataset": share,
        "holdouts_equal_to_a_member": len(equal),
        "unreadable": len(images.unreadable),
    }


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SplitRule(ABC):
    """What a file in ``conf/split`` names."""

    attack_train: Annotated[float, Field(gt=0, lt=1)]
    calibration: Annotated[float, Field(gt=0, lt=1)]
    seed: NonNegativeInt

    @abstractmethod
    def sides(self, images: ImageSet, random: np.random.Generator) -> tuple[Rows, Rows, bool]:
        """Members and hold-outs in random order, and whether the membership itself was drawn at random.

        Raises:
            UserError: where the images can't be split that way.
        """

    def split(self, images: ImageSet) -> Split:
        """Split a dataset, and choose what is attacked.

        Raises:
            UserError: for an empty side, sides that the dataset can't have, or too few samples to attack.
        """
        members, holdouts, drawn = self.sides(images, np.random.default_rng(self.seed))
        per_side = min(len(members), len(holdouts))
        attacked = np.concatenate([members[:per_side], holdouts[:per_side]])
        ascending = np.argsort(attacked)
        return Split(
            members=np.sort(members),
            holdouts=np.sort(holdouts),
            attacked=attacked[ascending],
            is_member=np.repeat([True, False], per_side)[ascending],
            part=np.tile(self._parts(per_side), 2)[ascending],
            drawn=drawn,
        )

    def _parts(self, per_side: int) -> NDArray[np.str_]:
        n_train = round(self.attack_train * per_side)
        n_calibration = round(self.calibration * n_train)
        if min(n_calibration, n_train - n_calibration, per_side - n_train) < 1:
            raise UserError(
                f"{per_side} samples a side are too few to attack: the attack-train part (split.attack_train="
                f"{self.attack_train}, split.calibration={self.calibration}) or what evaluates it would be empty."
            )
        part = np.full(per_side, str(Part.EVALUATION), dtype="<U16")
        part[:n_train] = str(Part.FIT)
        part[:n_calibration] = str(Part.CALIBRATION)
        return part


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True)
class Halves(SplitRule):
    """Members and hold-outs drawn at random; from the sides that the dataset itself states, where it states them."""

    ratio: Annotated[float, Field(gt=0, lt=1)]
    members: int | None
    holdouts: int | None

    def sides(self, images: ImageSet, random: np.random.Generator) -> tuple[Rows, Rows, bool]:
        """See `SplitRule.sides`."""
        if images.is_member is None:
            samples = random.permutation(np.flatnonzero(images.readable))
            n = len(samples)
            n_members = round(self.ratio * n) if self.members is None else self.members
            n_holdouts = n - n_members if self.holdouts is None else self.holdouts
            members, holdouts = samples[: max(n_members, 0)], samples[max(n_members, 0) :]
        else:
            members = random.permutation(np.flatnonzero(images.readable & images.is_member))
            holdouts = random.permutation(np.flatnonzero(images.readable & ~images.is_member))
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

    path: Path | None
    members: Path | None
    holdouts: Path | None

    def sides(self, images: ImageSet, random: np.random.Generator) -> tuple[Rows, Rows, bool]:
        """See `SplitRule.sides`; rows that could not be read are left out."""
        members, holdouts = read_indices(self.path, self.members, self.holdouts)
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
        sides = [random.permutation(rows[images.readable[rows]]) for rows in (members, holdouts)]
        return sides[0], sides[1], False
