"""Copies: of what the target saw among the hold-outs, and of each other within a side."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secmi_exp.data.copies import copied_holdouts, copies_facts
from secmi_exp.data.images import ImageSet
from secmi_exp.data.split import Part
from secmi_exp.run_warnings import RunWarning, collect_warnings
from tests.support.runs import run_here
from tests.support.splits import halves, image_set

PIXELS = np.arange(80, dtype=np.uint8).reshape(80, 1, 1, 1)
STATED = np.arange(80) < 40


def images_of(copies: dict[int, int]) -> ImageSet:
    """80 images, 40 of them members, of which some (row) have the pixels of others (row)."""
    pixels = PIXELS.copy()
    pixels[list(copies)] = pixels[list(copies.values())]
    return image_set(80, pixels=pixels, is_member=STATED)


def told(images: ImageSet, seen: range | None = None, **settings: int | float) -> tuple[dict, list[RunWarning]]:  # type: ignore[type-arg]
    split = halves(images, attack_train=0.5, **settings)
    with collect_warnings() as warnings:
        return copies_facts(split, images, np.array(split.members if seen is None else seen)), warnings


def test_an_image_without_copies_is_not_told() -> None:
    facts, warnings = told(images_of({}))
    assert facts == {"holdouts_equal_to_a_member": 0, "copies_within_side": {"members": 0, "holdouts": 0}}
    assert not warnings


def test_holdouts_that_equal_an_image_that_the_target_saw_are_counted_whether_or_not_it_was_drawn() -> None:
    images = images_of({row: row - 40 for row in range(40, 60)})
    drawn, _ = told(images, members=8)
    assert drawn["holdouts_equal_to_a_member"] < 10
    whole, (warning, *_) = told(images, range(40), members=8)
    assert whole["holdouts_equal_to_a_member"] == warning.count == 20
    assert (warning.code, warning.side, warning.grave) == ("holdouts_equal_to_a_member", "holdouts", True)
    assert copied_holdouts(halves(images), images, np.array([3])).tolist() == [43]


@pytest.mark.parametrize(("side", "name", "first"), [("members", "members", 0), ("holdouts", "hold-outs", 40)])
def test_copies_within_a_side_are_counted_and_named(side: str, name: str, first: int) -> None:
    images = images_of({first + 1: first, first + 2: first, first + 9: first + 8})
    facts, (warning,) = told(images)
    assert facts["copies_within_side"] == {"members": 0, "holdouts": 0} | {side: 3}
    assert (warning.code, warning.side, warning.count, warning.grave) == ("copies_within_side", side, 3, False)
    assert f"3 of the 40 attacked {name} have the very pixels of another one of them (the first: {first + 1})" in (
        warning.sentence
    )


def test_copies_that_no_part_can_hold_are_grave() -> None:
    images = images_of(dict.fromkeys(range(1, 30), 0))
    split = halves(images, attack_train=0.5)
    copied = split.is_member & (split.attacked < 30)
    _, (warning,) = told(images)
    judges = int((copied & split.of_part(Part.EVALUATION)).sum())
    assert warning.grave
    assert (
        f"{judges} of those that judge the attack have a copy among those that it may be fitted on" in warning.sentence
    )


def test_a_run_that_draws_some_stated_members_tells_of_copies_of_the_others(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    pixels[30:40], pixels[50] = pixels[:10], pixels[49]  # hold-outs like members, and like each other
    for row, image in enumerate(pixels):
        (tmp_path / ("A" if row < 30 else "B")).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / ("A" if row < 30 else "B") / f"{row}.png")
    given = ["dataset=image_folder", f"dataset.members={tmp_path}/A", f"dataset.holdout={tmp_path}/B"]
    drawn = ["dataset.image_size=8", "split.members=13", "split.holdouts=null"]
    folder = run_here(tmp_path, "+attack=blind", *given, *drawn)
    results = json.loads((folder / "results.json").read_text())
    assert results["split"]["members"] == 13
    assert results["split"]["holdouts_equal_to_a_member"] == 10
    (warning,) = (each for each in results["warnings"] if each["code"] == "holdouts_equal_to_a_member")
    assert warning["count"] == 10
