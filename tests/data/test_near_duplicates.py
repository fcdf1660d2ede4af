"""Images that look alike: found, told from different ones, kept together where that is wanted, and shown."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image

from secmi_exp.data.copies import alike_rows, near_duplicate_facts
from secmi_exp.data.images import ImageSet
from secmi_exp.data.near_duplicates import (
    MOST_DIFFERING,
    NearDuplicates,
    close_hashes,
    connected,
    find_near_duplicates,
    groups_of,
    perceptual_hashes,
)
from secmi_exp.data.split import kept_together
from secmi_exp.errors import UserError
from secmi_exp.evaluation.one_run_audit import Membership
from secmi_exp.pipeline import membership_of
from secmi_exp.reporting.page.render import render_page
from secmi_exp.reporting.run_figures import draw_near_duplicates
from secmi_exp.reporting.run_folders import find_runs
from secmi_exp.run_warnings import RunWarning, collect_warnings
from secmi_exp.store import Store
from tests.support.runs import run_here
from tests.support.splits import halves, halves_rule, image_set

FACES = np.rint(np.load(Path(skimage.__file__).parent / "data/lfw_subset.npy")[:40] * 255).astype(np.uint8)


def prepared(image: np.ndarray, side: int = 32) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def as_jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


def altered(image: np.ndarray) -> list[np.ndarray]:
    """The same picture: encoded, scaled, brighter."""
    large = prepared(image, 48)
    return [as_jpeg(large), prepared(large, 40), np.clip(large * 1.15 + 8.0, 0, 255).astype(np.uint8)]


def faces(copied: int, is_member: np.ndarray | None = None) -> ImageSet:
    """40 faces, and then three altered copies of each of the first ones."""
    copies = [each for face in FACES[:copied] for each in altered(face)]
    pixels = np.stack([prepared(each) for each in [*FACES, *copies]])[:, None]
    return image_set(len(pixels), pixels=pixels, is_member=is_member)


def test_altered_copies_are_found_and_different_faces_are_not() -> None:
    images = faces(10)
    alike = groups_of(images)
    assert np.unique(alike[:40]).tolist() == list(range(40))
    assert (alike[40:] == np.repeat(np.arange(10), 3)).mean() >= 0.9


def test_the_search_finds_what_comparing_all_pairs_finds() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**63, (400, 4), dtype=np.uint64)
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    for row in range(100):  # up to 28 bits from another one, and a little more
        bits[row] = bits[200 + row]
        bits[row, random.choice(256, row % 34, replace=False)] ^= 1
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    differing = (bits[:, None] != bits[None]).sum(axis=2)
    pairs = np.stack(np.nonzero(np.triu(differing <= MOST_DIFFERING, 1)), axis=1)
    expected, found = connected(np.arange(400), pairs), close_hashes(hashes)
    assert len(np.unique(expected)) < 340
    assert (expected == found).mean() > 0.99


def test_the_search_compares_few_pairs_of_images_that_are_all_alike() -> None:
    hashes = np.zeros((3000, 4), dtype=np.uint64)
    hashes[:, 0] = np.arange(3000)
    assert not close_hashes(hashes).any()


def test_flat_images_are_not_taken_for_each_other() -> None:
    pixels = np.repeat(np.arange(0, 100, 10, dtype=np.uint8), 32 * 32).reshape(10, 1, 32, 32)
    assert not perceptual_hashes(pixels)[1].any()
    assert len(np.unique(groups_of(image_set(10, pixels=pixels)))) == 10


def test_a_set_is_hashed_once(tmp_path: Path) -> None:
    images, store = faces(1), Store(tmp_path)
    first = find_near_duplicates(images, store)
    (key,) = store.used.values()
    assert key.kind == "near_duplicates"
    assert np.array_equal(first.alike, find_near_duplicates(images, Store(tmp_path)).alike)


def told(images: ImageSet, near: NearDuplicates) -> tuple[dict[str, Any], list[RunWarning]]:
    with collect_warnings() as warnings:
        return dict(near_duplicate_facts(halves(images), images, near, grouped=False)), warnings


def test_groups_are_counted_by_side_and_warned_of() -> None:
    is_member = np.arange(46) < 40
    images = faces(2, is_member)
    facts, (warning,) = told(images, NearDuplicates(groups_of(images)))
    assert facts == {"groups": 2, "members": 2, "holdouts": 6, "holdouts_like_a_member": 6}
    assert (warning.code, warning.count, warning.grave) == ("near_duplicates", 8, False)
    assert "8 of the 46 images look like another one, in 2 groups" in warning.sentence
    assert "6 hold-outs look like a member" in warning.sentence


def test_equal_pixels_alone_are_no_near_duplicates() -> None:
    images = faces(0)
    images.pixels[1] = images.pixels[0]
    images = image_set(40, pixels=images.pixels)
    near = NearDuplicates(groups_of(images))
    assert near.alike[1] == near.alike[0]
    assert not alike_rows(halves(images), images, near)


def test_images_too_small_for_a_hash_are_told_so() -> None:
    images = image_set(40, pixels=np.zeros((40, 1, 8, 8), np.uint8))
    facts, warnings = told(images, find_near_duplicates(images, None))  # type: ignore[arg-type]
    assert facts == {"untold": "images of 8×8 pixels are too small for a perceptual hash, which needs 32×32"}
    assert not warnings


def test_a_group_lies_on_one_side_and_in_one_part_where_that_is_wanted() -> None:
    images = faces(20)
    alike = groups_of(images)
    split = halves(images, attack_train=0.5)
    spread = set(alike[split.members]) & set(alike[split.holdouts])
    assert spread
    members, holdouts = kept_together(split.members, split.holdouts, alike, drawn=True)
    assert not set(alike[members]) & set(alike[holdouts])
    assert abs(len(members) - len(split.members)) <= 3
    grouped = halves_rule(attack_train=0.5).split(images, alike)
    assert not set(alike[grouped.members]) & set(alike[grouped.holdouts])
    assert grouped.drawn_together == np.isin(alike[grouped.attacked], np.flatnonzero(np.bincount(alike) > 1)).sum() > 0
    assert membership_of(grouped) == Membership.GROUPED
    side = grouped.is_member
    parts = {number: set(grouped.part[side & (alike[grouped.attacked] == number)]) for number in alike[grouped.members]}
    assert sum(len(each) > 1 for each in parts.values()) <= 1


def test_without_groups_the_split_is_as_it_was() -> None:
    images = faces(0)
    plain, grouped = halves(images), halves_rule().split(images, groups_of(images))
    for name in ("members", "holdouts", "attacked", "part"):
        assert np.array_equal(getattr(plain, name), getattr(grouped, name))
    assert membership_of(plain) == membership_of(grouped) == Membership.DRAWN


def test_a_run_whose_groups_were_drawn_together_states_no_one_run_bound_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for row, pixels in enumerate(np.random.default_rng(0).integers(50, 200, (12, 32, 32), dtype=np.uint8)):
        for brighter in range(4):
            Image.fromarray(pixels + np.uint8(brighter)).save(tmp_path / f"images/{row}_{brighter}.png")
    given = ["dataset=image_folder", f"dataset.path={tmp_path}/images", "dataset.image_size=32", "dataset.channels=1"]
    small = ["split.attack_train=0.5", "evaluation.bootstrap_rounds=20", "logger=none", "trainer=cpu"]
    folder = run_here(tmp_path, "+attack=blind", *given, *small, "split.near_duplicates=group", base=[])
    results = json.loads((folder / "results.json").read_text())
    bound = results["epsilon_lower_bound"]
    assert (bound["membership"], bound["one_run"], bound["abstaining"]) == ("random_groups", None, None)
    assert bound["epsilon"] is not None
    (told,) = [warning for warning in results["warnings"] if warning["code"] == "one_run_left_out"]
    assert "48 of the 48 attacked images" in told["sentence"]


def test_stated_hold_outs_that_look_like_a_member_are_left_out_of_grouped_splits() -> None:
    members, holdouts = np.arange(4), np.arange(4, 8)
    alike = np.array([0, 1, 2, 3, 0, 5, 6, 6])
    kept = kept_together(members, holdouts, alike, drawn=False)
    assert [side.tolist() for side in kept] == [[0, 1, 2, 3], [5, 6, 7]]
    with pytest.raises(UserError, match=r"near_duplicates=group leaves no hold-outs"):
        kept_together(members, holdouts, np.zeros(8, dtype=np.int64), drawn=False)


def test_a_run_counts_and_shows_them(tmp_path: Path) -> None:
    for row, face in enumerate(FACES):
        (tmp_path / ("B" if row % 2 else "A")).mkdir(exist_ok=True)
        Image.fromarray(face).save(tmp_path / ("B" if row % 2 else "A") / f"{row}.png")
    Image.fromarray(altered(FACES[0])[0]).save(tmp_path / "B/copy.png")
    given = ["dataset=image_folder", f"dataset.members={tmp_path}/A", f"dataset.holdout={tmp_path}/B"]
    small = ["dataset.image_size=32", "dataset.channels=1", "evaluation.bootstrap_rounds=20"]
    folder = run_here(tmp_path, "+attack=blind", *given, *small, base=[])
    results = json.loads((folder / "results.json").read_text())
    assert results["split"]["near_duplicates"] == {
        "groups": 1, "members": 1, "holdouts": 1, "holdouts_like_a_member": 1,
    }  # fmt: skip
    assert "Near-duplicates" in render_page(find_runs([folder]))
    path = folder / "near_duplicates.png"
    path.unlink()
    assert draw_near_duplicates(path, [FACES[:2, None]], [np.array([True, False])], [9], "faces")
    assert path.is_file()
