"""Class labels that a class-conditional target is queried with, each checked before anything is computed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from secmi_exp.data.images import Images, Rows
from secmi_exp.data.labels import Labels
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.formatting import shown
from secmi_exp.run_warnings import warn
from secmi_exp.store import Input, Key
from secmi_exp.targets.interface import InputArrays, Inputs

VERSION = 1
"""Version of the inputs; raised when the same settings would give other labels."""

LabelChoice = Literal["dataset", "none"] | int
"""The images' own labels, the model's unconditional class, or one class for all."""


@dataclass(frozen=True)
class QueriedLabels:
    """One class for each image, as the model numbers them."""

    source: Literal["dataset", "none", "fixed"]
    numbers: Rows
    """[n], int64."""
    missing: int
    """Number of images without a label, which have the unconditional class instead."""
    unconditional: int | None
    """The class that guidance leads away from; None without guidance."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the classes in order."""
        return hashlib.sha256(np.ascontiguousarray(self.numbers, "<i8").data).hexdigest()

    def facts(self) -> dict[str, Json]:
        """Count the labels, for readers of the results."""
        return {"source": self.source, "distinct": len(np.unique(self.numbers)), "missing": self.missing}


@dataclass(frozen=True)
class LabelQuery:
    """How a class-conditional model is queried."""

    choice: LabelChoice
    classes: int
    """Classes of the model, without the unconditional one; labels are 0 … classes − 1."""
    unconditional: int | None = None
    """Number of its unconditional class, 0 … classes; None: it has none."""
    guidance: float = 1.0
    """w of classifier-free guidance away from the unconditional class; 1: none."""

    def labels_of(self, images: Images) -> QueriedLabels:
        """Return the class that each image is queried with; the caller warns of labels that are missing on a side.

        Warns where the dataset's own numbers may be others than the model's.

        Raises:
            UserError: for a class that the model doesn't have, and images without a label where it needs one.
        """
        guided = self.guidance != 1.0
        if guided and self.unconditional is None:
            raise UserError(
                f"target.guidance={self.guidance:g} leads away from the model's unconditional class, and it has none: "
                "set target.guidance=1."
            )
        numbers, missing = self._numbers(images)
        source: Literal["dataset", "none", "fixed"] = "fixed" if isinstance(self.choice, int) else self.choice
        return QueriedLabels(source, numbers, missing, self.unconditional if guided else None)

    def _numbers(self, images: Images) -> tuple[Rows, int]:
        """Classes, [n], and how many images have none of their own."""
        match self.choice:
            case "dataset":
                return self._own(images)
            case "none":
                if self.unconditional is None:
                    raise UserError(
                        "target.label=none needs a model with an unconditional class, and this one has none: set "
                        f"target.label to dataset, or to a class from {self._range}."
                    )
                return np.full(len(images), self.unconditional, np.int64), 0
            case number:
                if not 0 <= number < self.classes:
                    raise UserError(
                        f"target.label={number} is no class of the model, which has {self.classes}: choose one from "
                        f"{self._range}."
                    )
                return np.full(len(images), number, np.int64), 0

    def _own(self, images: Images) -> tuple[Rows, int]:
        """The dataset's labels; see `_numbers`."""
        given = images.classes
        missing = [row for row, number in enumerate(given) if number is None]
        if images.labels is None or len(missing) == len(given):
            raise UserError(
                "None of the images has a class label: put them into sub-folders that are their classes, or give a "
                "table with their classes in the column that dataset.label_column names, or set target.label to "
                f"{self._without_labels}."
            )
        outside = [row for row, number in enumerate(given) if number is not None and number >= self.classes]
        if outside:
            number = given[outside[0]]
            raise UserError(
                f"The class label of {images.names[outside[0]]} is {number}{named(images.labels, number)}, and the "
                f"model has {self.classes} classes, {self._range} ({len(outside)} of {len(given)} images have such "
                f"labels): number them as the model does, or set target.label to {self._without_labels}."
            )
        if missing and self.unconditional is None:
            raise UserError(
                f"{len(missing)} of {len(given)} images have no class label (the first of them "
                f"{images.names[missing[0]]}), and the model has no unconditional class to stand for it: label them, "
                f"leave them out, or set target.label to {self._without_labels}."
            )
        self._warn_of_other_numbers(images.labels)
        return np.array([self.unconditional if number is None else number for number in given], np.int64), len(missing)

    def _warn_of_other_numbers(self, labels: Labels) -> None:
        names = labels.names
        if labels.sorted and names and len(names) < self.classes:
            warn(
                "classes_numbered_by_name",
                f"The dataset's classes, {shown(names[0])} to {shown(names[-1])}, are numbered in the sorted order of "
                f"their names, and the model has {self.classes} classes where these are {len(names)}, so that its "
                "numbers may be others: give those in a column that dataset.label_column names.",
            )

    @property
    def _range(self) -> str:
        return f"0 to {self.classes - 1}"

    @property
    def _without_labels(self) -> str:
        """The choices that need no labels."""
        none = "" if self.unconditional is None else "none, or to "
        return f"{none}a class from {self._range} for all"


@runtime_checkable
class ClassConditional(Protocol):
    """A target that may be queried with class labels, so that these are checked before anything is computed."""

    @property
    def label_query(self) -> LabelQuery | None:
        """How its queries get their class; None where they have none."""


def named(labels: Labels, number: int | None) -> str:
    """A class's name in brackets; empty where it is not known."""
    known = number is not None and labels.names is not None and number < len(labels.names)
    return f" ({shown(labels.names[number])})" if known and labels.names and number is not None else ""


@dataclass(frozen=True)
class LabelledInputs:
    """Inputs of another kind, such as pixel images, each with a class.

    Their condition ``label`` is int64 [n], the class of each image; with guidance, ``negative_label`` is the
    unconditional class for all, int64 [n].
    """

    inputs: Inputs
    labels: QueriedLabels

    @cached_property
    def key(self) -> Key:
        """See `Inputs.key`."""
        inputs: dict[str, Input] = {"inputs": self.inputs.key, "labels": self.labels.digest}
        return Key("inputs", VERSION, {"unconditional": self.labels.unconditional}, inputs)

    def arrays(self) -> InputArrays:
        """See `Inputs.arrays`."""
        arrays = self.inputs.arrays()
        condition = {"label": self.labels.numbers}
        if self.labels.unconditional is not None:
            condition["negative_label"] = np.full_like(self.labels.numbers, self.labels.unconditional)
        return InputArrays(arrays.x_0, {**arrays.condition, **condition})

    def texts(self) -> dict[str, Sequence[str]]:
        """See `Inputs.texts`: the classes' numbers, so that the check of the split looks at them too."""
        return {**self.inputs.texts(), "labels": [str(number) for number in self.labels.numbers]}

    def facts(self) -> dict[str, Json]:
        """See `Inputs.facts`: the counts of the labels."""
        return {**self.inputs.facts(), "labels": self.labels.facts()}
