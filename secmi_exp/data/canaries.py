"""Images that are inserted into a target's training to audit it, each of them left out by a fair coin.

The members of the split and the canaries whose coin says so train the target; the attack is judged on the canaries
alone. So the theorems on audits of one run hold as they stand (Steinke, Nasr and Jagielski 2023), where a random half
of a dataset only comes near to their fair coins.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal, TypeVar

import numpy as np
import pydantic.dataclasses
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, NonNegativeInt

from secmi_exp.data.digits import digit_pixels
from secmi_exp.data.images import ImageSet, Pixels, Rows, pixel_digests
from secmi_exp.data.labels import LabelCells, Labels
from secmi_exp.data.lfw import face_pixels
from secmi_exp.data.mnist5k import mnist_pixels
from secmi_exp.data.preprocessing import Preprocessing
from secmi_exp.data.split import Part, Split
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.random_streams import Purpose
from secmi_exp.run_warnings import warn

Number = TypeVar("Number", bound=np.generic)

SOURCES = {"digits": digit_pixels, "mnist5k": mnist_pixels, "lfw": face_pixels}
"""Datasets that come with a library, and what reads their pixels, [N, H, W]."""


USES = {"judge": [Part.EVALUATION], "calibrate": [Part.FIT, Part.CALIBRATION]}
"""What canaries do for an attack that fits nothing → their parts; each needs both sides."""
USES_WHERE_FITTED = {"judge": [Part.EVALUATION], "fit": [Part.FIT], "calibrate": [Part.CALIBRATION]}


@dataclass(frozen=True)
class Drawn:
    """Canaries before their coins are tossed."""

    pixels: Pixels
    """[count, C, H, W]."""
    rows: Rows | None = None
    """Hold-outs whose pixels these are; None for images that the dataset lacks. [count]"""


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Canaries(ABC):
    """The base class of kinds of canaries, which the files in ``conf/canaries`` name."""

    name: str
    count: Annotated[int, Field(ge=10)]
    """Canaries before the coins."""
    attack_train: Annotated[float, Field(gt=0, lt=1)]
    calibration: Annotated[float, Field(gt=0, lt=1)]
    image_seed: NonNegativeInt
    """Seed of the canaries' pixels and classes; runs that differ in ``seed`` alone audit the same canaries."""
    seed: NonNegativeInt
    """Seed of the coins, and of the choice of canaries that an attack may learn from."""

    @abstractmethod
    def draw(self, images: ImageSet, split: Split, random: np.random.Generator) -> Drawn:
        """The canaries.

        Raises:
            UserError: where there are too few images to draw them from.
        """

    def insert(self, images: ImageSet, split: Split, *, fitted: bool = False) -> tuple[ImageSet, Split]:
        """Add the canaries to a dataset, and those that are included to the members.

        All pixels are copied into memory.

        Args:
            images: the dataset.
            split: of it.
            fitted: whether the attack is fitted on canaries, and its threshold calibrated on others.

        Returns:
            The dataset with the canaries behind its own images, and the split whose attacked images they are.

        Raises:
            UserError: where they can't be drawn, or where those of a use have one side only.
        """
        drawn = self.draw(images, split, np.random.default_rng(self.image_seed))
        random = np.random.default_rng([self.seed, 0, Purpose.CANARY_COINS])
        included = random.random(self.count) < 0.5
        part = random.permutation(self._parts())
        self._refuse_empty_sides(included, part, fitted=fitted)
        rows = np.arange(len(images), len(images) + self.count)
        holdouts = split.holdouts if drawn.rows is None else np.setdiff1d(split.holdouts, drawn.rows)
        warn(
            "judged_on_canaries",
            f"The attack is judged on {self.count} inserted canaries ({self.name.replace('_', ' ')}), "
            f"{included.sum()} of which the target was trained on, and not on images of the dataset: what it finds is "
            "how much the training keeps of such images.",
            count=self.count,
        )
        return self._extended(images, drawn, included), Split(
            members=np.concatenate([split.members, rows[included]]),
            holdouts=np.concatenate([holdouts, rows[~included]]),
            attacked=rows,
            is_member=included,
            part=part,
            drawn=True,
            by_coins=True,
        )

    def facts(self, split: Split) -> dict[str, Json]:
        """Kind and numbers, for results.json."""
        return {"kind": self.name, "count": self.count, "included": int(split.is_member.sum())}

    def _parts(self) -> NDArray[np.str_]:
        """The part of each canary, before they are shuffled."""
        n_train = round(self.attack_train * self.count)
        n_calibration = round(self.calibration * n_train)
        sizes = {
            Part.CALIBRATION: n_calibration,
            Part.FIT: n_train - n_calibration,
            Part.EVALUATION: self.count - n_train,
        }
        return np.repeat(np.array([str(part) for part in sizes], dtype="<U16"), list(sizes.values()))

    def _refuse_empty_sides(self, included: NDArray[np.bool_], part: NDArray[np.str_], *, fitted: bool) -> None:
        for use, parts in (USES_WHERE_FITTED if fitted else USES).items():
            coins = included[np.isin(part, [str(each) for each in parts])]
            if coins.all() or not coins.any():
                share = "" if use == "judge" else f" or canaries.attack_train={self.attack_train}"
                raise UserError(
                    f"The coins include {coins.sum()} of the {len(coins)} canaries that {use} the attack, and both "
                    f"sides need some: raise canaries.count={self.count}{share}."
                )

    def _extended(self, images: ImageSet, drawn: Drawn, included: NDArray[np.bool_]) -> ImageSet:
        height, width = images.pixels.shape[2:]
        count = self.count
        return replace(
            images,
            pixels=np.concatenate([images.pixels, drawn.pixels]),
            digests=np.concatenate([images.digests, pixel_digests(drawn.pixels)]),
            ids=[*images.ids, *(f"canary/{row:0{len(str(count - 1))}d}" for row in range(count))],
            is_member=None if images.is_member is None else np.concatenate([images.is_member, included]),
            captions=None if images.captions is None else [*images.captions, *[None] * count],
            labels=images.labels and Labels(partial(with_classes, images.labels, count, drawn.rows, self.image_seed)),
            sizes=_with(images.sizes, [width, height], count),
            orientations=_with(images.orientations, 1, count),
            several_frames=_with(images.several_frames, 0, count),
        )


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True)
class Noise(Canaries):
    """Each pixel uniformly distributed, independently of all others."""

    def draw(self, images: ImageSet, split: Split, random: np.random.Generator) -> Drawn:
        """See `Canaries.draw`."""
        return Drawn(random.integers(0, 256, (self.count, *images.pixels.shape[1:]), dtype=np.uint8))


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True)
class Mislabelled(Canaries):
    """Hold-outs of the dataset, each with a random class that isn't its own."""

    def draw(self, images: ImageSet, split: Split, random: np.random.Generator) -> Drawn:
        """See `Canaries.draw`."""
        if images.labels is None:
            raise UserError("canaries=mislabelled needs a dataset with class labels, and this one has none.")
        rows = random.choice(split.holdouts, _enough(self.count, len(split.holdouts), "the split has hold-outs"), False)
        return Drawn(images.pixels[rows], rows)


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True)
class OutOfDistribution(Canaries):
    """Images of another dataset, squeezed to the size of this one's."""

    source: Literal["digits", "mnist5k", "lfw"]

    def draw(self, images: ImageSet, split: Split, random: np.random.Generator) -> Drawn:
        """See `Canaries.draw`."""
        others = SOURCES[self.source]()
        channels, height, width = images.pixels.shape[1:]
        prepare = Preprocessing((height, width), channels, None)
        rows = random.choice(len(others), _enough(self.count, len(others), f"{self.source} has images"), False)
        return Drawn(np.stack([prepare(Image.fromarray(others[row])) for row in rows]))


def with_classes(labels: Labels, count: int, rows: Rows | None, seed: int) -> LabelCells:
    """The classes of a dataset and behind them those of canaries: random ones, and none that is an image's own.

    Args:
        labels: of the dataset.
        count: of canaries.
        rows: of the dataset's images that the canaries are; None for other images.
        seed: of the classes.

    Raises:
        UserError: where the dataset has a single class.
    """
    given = labels.as_given
    classes = list(dict.fromkeys(cell for cell in given.cells if cell is not None))
    if len(classes) < 2:
        raise UserError(f"Canaries get random classes, and the dataset has {len(classes)}: it needs two at least.")
    random = np.random.default_rng([seed, 0, Purpose.CANARY_CLASSES])
    own = [None] * count if rows is None else [given.cells[row] for row in rows]
    others = [[each for each in classes if each != cell] for cell in own]
    return LabelCells([*given.cells, *(each[random.integers(len(each))] for each in others)], given.names)


def _enough(count: int, available: int, there: str) -> int:
    """The number of canaries, unless that many can't be drawn."""
    if count > available:
        raise UserError(f"canaries.count={count} is more than {there}, {available}: lower it.")
    return count


def _with(values: NDArray[Number] | None, value: Sequence[int] | int, count: int) -> NDArray[Number] | None:
    """An array with the same value for each canary behind it; None where there is none."""
    if values is None:
        return None
    return np.concatenate([values, np.full((count, *values.shape[1:]), value, values.dtype)])
