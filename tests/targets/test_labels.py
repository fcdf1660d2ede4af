"""Class labels that targets are queried with: which, what is refused, and what the results say of them."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from secmi_exp.data.digits import digit_labels
from secmi_exp.data.image_folder import ImageFolder
from secmi_exp.data.images import Images, ImageSet
from secmi_exp.data.labels import Cell, LabelCells, Labels
from secmi_exp.data.split import Split
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import RunWarning, collect_warnings
from secmi_exp.split_checks.condition_check import check_conditions, condition_facts
from secmi_exp.split_checks.split_check import check_split
from secmi_exp.store import Store
from secmi_exp.targets.interface import PixelInputs, Target
from secmi_exp.targets.labels import LabelChoice, LabelledInputs, LabelQuery
from tests.support.splits import halves, image_set
from tests.test_caption_check import FOLDER

TEN = LabelQuery("dataset", 10, unconditional=10)


def labelled(cells: Sequence[Cell] | None, names: Sequence[str] | None = None) -> ImageSet:
    """Images of a pixel each, the first half of them members."""
    n = len(cells) if cells else 4
    images = image_set(n, is_member=np.arange(n) < n // 2)
    return replace(images, labels=Labels(lambda: LabelCells(cells, names)) if cells else None)


def all_of(images: ImageSet) -> Images:
    return images.select(np.arange(len(images)))


def inputs(cells: Sequence[Cell], query: LabelQuery = TEN) -> LabelledInputs:
    images = all_of(labelled(cells))
    return LabelledInputs(PixelInputs(images), query.labels_of(images))


@pytest.mark.parametrize(
    ("choice", "numbers", "facts"),
    [
        ("dataset", [3, 10, 0, 3], {"source": "dataset", "distinct": 3, "missing": 1}),
        ("none", [10, 10, 10, 10], {"source": "none", "distinct": 1, "missing": 0}),
        (7, [7, 7, 7, 7], {"source": "fixed", "distinct": 1, "missing": 0}),
    ],
)
def test_queries_have_the_chosen_classes(choice: LabelChoice, numbers: list[int], facts: dict[str, object]) -> None:
    made = inputs([3, None, 0, 3], replace(TEN, choice=choice))
    arrays = pickle.loads(pickle.dumps(made.arrays()))  # noqa: S301
    assert arrays.condition["label"].tolist() == numbers
    assert arrays.condition["label"].dtype == np.int64
    assert list(arrays.condition) == ["label"]
    assert made.facts() == {"labels": facts}
    assert made.texts() == {"labels": list(map(str, numbers))}


def test_guidance_leads_away_from_the_unconditional_class() -> None:
    condition = inputs([3, 1], replace(TEN, guidance=2.0)).arrays().condition
    assert {name: values[:].tolist() for name, values in condition.items()} == {
        "label": [3, 1],
        "negative_label": [10, 10],
    }


def test_the_key_tells_classes_images_and_guidance_apart_and_not_where_classes_come_from() -> None:
    digest = inputs([3, 1]).key.digest
    assert inputs([3, 1], replace(TEN, classes=12)).key.digest == digest
    assert inputs(["b", "a"]).key.digest == inputs([1, 0]).key.digest
    others = [inputs([1, 3]), inputs([3, None]), inputs([3, 1], replace(TEN, guidance=2.0)), inputs([3, 1, 1])]
    assert len({digest, *(each.key.digest for each in others)}) == 5
    assert inputs([3, 3]).key.digest == inputs([1, 2], replace(TEN, choice=3)).key.digest


NO_NONE = replace(TEN, unconditional=None)


@pytest.mark.parametrize(
    ("query", "cells", "sentence"),
    [
        (
            TEN,
            [3, 10, 12, 1],
            r"label of 1 is 10, and the model has 10 classes, 0 to 9 \(2 of 4 images have such labels",
        ),
        (LabelQuery("dataset", 2), list("abcd"), r"label of 2 is 2 \('c'\), and the model has 2 classes, 0 to 1"),
        (
            replace(TEN, choice=10),
            [0],
            "target.label=10 is no class of the model, which has 10: choose one from 0 to 9",
        ),
        (replace(TEN, choice=-1), [0], "target.label=-1 is no class"),
        (TEN, None, "None of the images has a class label: .* set target.label to none, or to a class from 0 to 9"),
        (NO_NONE, [None, None], "None of the images has .* dataset.label_column .* set target.label to a class from 0"),
        (
            NO_NONE,
            [0, None, None],
            r"2 of 3 images have no class label \(the first of them 1\), and the model has no unc",
        ),
        (replace(NO_NONE, choice="none"), [0], "target.label=none needs a model with an unconditional class, and this"),
        (replace(NO_NONE, guidance=3.0), [0], "target.guidance=3 leads away from the model's unconditional class, and"),
    ],
)
def test_what_the_model_has_no_class_for_is_refused(query: LabelQuery, cells: list[Cell] | None, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        query.labels_of(all_of(labelled(cells)))


def test_names_numbered_in_sorted_order_are_told_where_the_model_has_more_classes() -> None:
    with collect_warnings() as warnings:
        TEN.labels_of(all_of(labelled(["cat", "dog", "cat"])))
        LabelQuery("dataset", 2).labels_of(all_of(labelled(["cat", "dog", "cat"])))
        TEN.labels_of(all_of(labelled([0, 1], ["cat", "dog"])))
    assert [each.code for each in warnings] == ["classes_numbered_by_name"]
    assert (
        "'cat' to 'dog', are numbered in the sorted order of their names, and the model has 10" in warnings[0].sentence
    )


@dataclass
class Labelled:
    """A target of ten classes, as far as checks look at it."""

    label_query: LabelQuery | None
    conditions: ClassVar[tuple[str, ...]] = ("labels",)


def checked(cells: Sequence[Cell], query: LabelQuery | None = TEN) -> tuple[list[RunWarning], Any]:
    """Warnings of a target that is queried with labels, and what results.json says of them."""
    images = labelled(cells)
    split: Split = halves(images)
    dataset = ImageFolder(**FOLDER | {"path": Path("list.csv")})
    with collect_warnings() as warnings:
        check_conditions(cast(Target, Labelled(query)), split, images, dataset)
    return warnings, condition_facts(split, images, ("labels",))


def test_missing_labels_are_counted_and_told_by_side() -> None:
    warnings, facts = checked([1] * 38 + [None] * 2 + [1] * 39 + [None])
    assert [(each.code, each.side, each.count, each.grave) for each in warnings] == [
        ("labels_missing", "members", 2, False),
        ("labels_missing", "holdouts", 1, False),
    ]
    assert "2 of the 40 attacked members have no class label, and get the unconditional class" in warnings[0].sentence
    assert facts == {"labels": {"members": {"found": 38, "missing": 2}, "holdouts": {"found": 39, "missing": 1}}}


def test_labels_that_differ_by_side_are_grave_and_lost_ones_are_refused() -> None:
    (warning,), _ = checked([1] * 40 + [None] * 20 + [1] * 20)
    assert (warning.code, warning.side, warning.count, warning.grave) == ("labels_differ_by_side", "holdouts", 20, True)
    sentence = (
        "40 of 40 members have a class label, and none of the 40 hold-outs has one, so that the labels alone would "
        "tell them apart: .* in the column dataset.label_column=label, or set target.label to none"
    )
    with pytest.raises(UserError, match=sentence):
        checked([1] * 40 + [None] * 40)


def test_a_target_that_can_t_be_queried_with_the_labels_is_refused_before_it_is_prepared() -> None:
    with pytest.raises(UserError, match="is 10, and the model has 10 classes"):
        checked([10] + [0] * 79)
    with pytest.raises(UserError, match="40 of 80 images have no class label"):
        checked([0] * 40 + [None] * 40, NO_NONE)
    counts = {side: {"found": 40, "missing": 0} for side in ("members", "holdouts")}
    assert checked([10] + [0] * 79, None) == ([], {"labels": counts})


@pytest.mark.parametrize(("share", "at_fault"), [(0.5, False), (0.8, True)])
def test_classes_that_tell_the_sides_apart_are_found(tmp_path: Path, share: float, at_fault: bool) -> None:
    """Members are mostly of even digits where the share is more than a half."""
    random = np.random.default_rng(0)
    numbers = np.array(digit_labels().cells)[:300]
    is_member = random.random(300) < np.where(numbers % 2 == 0, share, 1 - share)
    images = all_of(labelled(numbers.tolist()))
    texts = LabelledInputs(PixelInputs(images), TEN.labels_of(images)).texts()
    pixels = Images.from_pixels(random.integers(0, 256, (300, 1, 2, 2), dtype=np.uint8))
    told: Any = check_split(pixels, is_member, 0, Store(tmp_path), texts, None)
    assert told["by"]["labels"]["at_fault"] == at_fault
    assert not told["by"]["pixels"]["at_fault"]
