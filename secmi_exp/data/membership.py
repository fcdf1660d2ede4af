"""Membership that is stated twice: all statements about the same images must agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secmi_exp.errors import UserError


@dataclass(frozen=True)
class Statement:
    """The membership of n images as one source states it."""

    source: str
    """Name of the source for messages, such as ``dataset.members``."""
    is_member: NDArray[np.bool_]
    """[n]."""


def refuse_contradiction(first: Statement, second: Statement, ids: Sequence[str], advice: str) -> None:
    """Refuse two statements about the same images that differ.

    Args:
        first: one source.
        second: the other.
        ids: of the images, [n].
        advice: what to do, as the end of a sentence.

    Raises:
        UserError: naming the first image that they disagree on, and how many there are.
    """
    differing = np.flatnonzero(first.is_member != second.is_member)
    if not len(differing):
        return
    row = int(differing[0])
    said = [f"a {'member' if each.is_member[row] else 'hold-out'} by {each.source}" for each in (first, second)]
    raise UserError(
        f"There are two statements of who is a member: {first.source} and {second.source} disagree on {len(differing)} "
        f"of {len(ids)} images, the first of them {ids[row]} ({', '.join(said)}): {advice}."
    )
