"""Who is a member, who is a hold-out, and which of them an attack may learn from."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import numpy as np
import pydantic.dataclasses
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, NonNegativeInt

from secmi_exp.errors import UserError

Rows = NDArray[np.int64]


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

    def of_part(self, *parts: Part) -> NDArray[np.bool_]:
        """Mask over ``attacked``, [n]."""
        return np.isin(self.part, [str(part) for part in parts])


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Halves:
    """Seeded random members and hold-outs of one dataset."""

    ratio: Annotated[float, Field(gt=0, lt=1)]
    members: int | None
    holdouts: int | None
    attack_train: Annotated[float, Field(gt=0, lt=1)]
    calibration: Annotated[float, Field(gt=0, lt=1)]
    seed: NonNegativeInt

    def split(self, n: int) -> Split:
        """Split n samples.

        Raises:
            UserError: for an empty side, more samples than exist, or too few to attack.
        """
        n_members = round(self.ratio * n) if self.members is None else self.members
        n_holdouts = n - n_members if self.holdouts is None else self.holdouts
        if n_members < 1 or n_holdouts < 1:
            raise UserError(
                f"The split has an empty side, {n_members} members and {n_holdouts} hold-outs of {n} samples: "
                "set split.members, split.holdouts or split.ratio so that both have some."
            )
        if n_members + n_holdouts > n:
            raise UserError(
                f"The split asks for {n_members} members and {n_holdouts} hold-outs, but the dataset has {n} "
                "samples: lower split.members or split.holdouts."
            )
        order = np.random.default_rng(self.seed).permutation(n)
        members, holdouts = order[:n_members], order[n_members : n_members + n_holdouts]

        per_side = min(n_members, n_holdouts)
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

        attacked = np.concatenate([members[:per_side], holdouts[:per_side]])
        is_member = np.repeat([True, False], per_side)
        ascending = np.argsort(attacked)
        return Split(
            members=np.sort(members),
            holdouts=np.sort(holdouts),
            attacked=attacked[ascending],
            is_member=is_member[ascending],
            part=np.tile(part, 2)[ascending],
        )
