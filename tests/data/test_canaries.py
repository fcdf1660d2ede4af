"""Canaries: half of them are left out by fair coins, the attack is judged on them alone, and nothing else changes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from secmi_exp.configuration.components import Components
from secmi_exp.data.canaries import Canaries, Mislabelled, Noise, OutOfDistribution
from secmi_exp.data.images import ImageSet, pixel_digests
from secmi_exp.data.labels import LabelCells, Labels
from secmi_exp.data.split import Part, Split
from secmi_exp.errors import UserError
from secmi_exp.testing import compose_config
from tests.support.runs import MEMORIZING, run_here
from tests.support.splits import halves

SETTINGS: dict[str, Any] = {
    "name": "kind",
    "count": 100,
    "attack_train": 0.2,
    "calibration": 0.25,
    "image_seed": 0,
    "seed": 0,
}


def classes_of_four() -> LabelCells:
    return LabelCells([f"class {row % 4}" for row in range(300)])


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """300 random images of 8×8 pixels in four classes."""
    pixels = np.random.default_rng(5).integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    return ImageSet(
        pixels, pixel_digests(pixels), [f"own/{i}" for i in range(300)], {}, None, labels=Labels(classes_of_four)
    )


@pytest.fixture(scope="module")
def split(images: ImageSet) -> Split:
    return halves(images)


def kinds(**settings: Any) -> list[Canaries]:
    given = SETTINGS | settings
    return [Noise(**given), Mislabelled(**given), OutOfDistribution(**given, source="lfw")]


@pytest.mark.parametrize("canaries", kinds(), ids=lambda each: type(each).__name__)
def test_members_and_included_canaries_are_trained_on_and_canaries_alone_attacked(
    canaries: Canaries, images: ImageSet, split: Split
) -> None:
    extended, inserted = canaries.insert(images, split)
    assert len(extended) == 400
    assert extended.pixels.shape[1:] == (1, 8, 8)
    assert (extended.digests == pixel_digests(extended.pixels)).all()
    assert inserted.attacked.tolist() == list(range(300, 400))
    included = inserted.attacked[inserted.is_member]
    assert inserted.members.tolist() == [*split.members, *included]
    assert np.intersect1d(inserted.members, inserted.holdouts).size == 0
    assert set(inserted.attacked[~inserted.is_member]) <= set(inserted.holdouts)
    assert inserted.drawn
    assert inserted.by_coins
    assert [(inserted.part == str(part)).sum() for part in Part] == [15, 5, 80]
    assert extended.ids[300] == "canary/00"
    assert len(set(extended.ids)) == 400
    assert np.isin(extended.content[inserted.holdouts], extended.content[inserted.members]).sum() == 0


def test_coins_are_fair_and_independent_of_parts_and_images(images: ImageSet, split: Split) -> None:
    drawn = [Noise(**SETTINGS | {"seed": seed}).insert(images, split) for seed in range(60)]
    coins, parts = (np.stack([getattr(each, name) for _, each in drawn]) for name in ("is_member", "part"))
    assert abs(coins.mean() - 0.5) < 4 * 0.5 / np.sqrt(coins.size)
    assert abs(coins[parts == "evaluation"].mean() - 0.5) < 4 * 0.5 / np.sqrt((parts == "evaluation").sum())
    assert coins.sum(axis=1).std() == pytest.approx(5.0, rel=0.4)  # a split of fixed size would have 0
    assert all((each.pixels == drawn[0][0].pixels).all() for each, _ in drawn)
    assert (Noise(**SETTINGS | {"image_seed": 1}).insert(images, split)[0].pixels != drawn[0][0].pixels).any()


def test_neither_coins_nor_classes_are_bits_of_the_canaries_own_pixels(images: ImageSet, split: Split) -> None:
    extended, inserted = Noise(**SETTINGS).insert(images, split)  # whose two seeds are equal
    assert extended.labels is not None
    pixels, classes = extended.pixels[300:].ravel(), np.array(extended.labels.numbers[300:])
    for first in range(8):
        assert abs((inserted.is_member == (pixels[first::8][:100] < 128)).mean() - 0.5) < 0.25
    for first in range(4):
        assert (classes == pixels[first::4][:100] // 64).mean() < 0.5


def test_mislabelled_canaries_are_holdouts_of_another_class(images: ImageSet, split: Split) -> None:
    extended, inserted = Mislabelled(**SETTINGS).insert(images, split)
    assert extended.labels is not None
    assert extended.labels.numbers[:300] == [row % 4 for row in range(300)]
    rows = [int(np.flatnonzero((images.pixels == each).all((1, 2, 3)))[0]) for each in extended.pixels[300:]]
    assert set(rows) <= set(split.holdouts)
    assert not set(rows) & set(inserted.holdouts)
    assert all(number != row % 4 for number, row in zip(extended.labels.numbers[300:], rows, strict=True))


def test_what_can_not_be_drawn_is_refused(images: ImageSet, split: Split) -> None:
    noise, mislabelled, others = kinds(count=151)
    with pytest.raises(UserError, match=r"canaries\.count=151 is more than the split has hold-outs, 150"):
        mislabelled.insert(images, split)
    with pytest.raises(UserError, match=r"canaries\.count=151 is more than lfw has images, 100"):
        others.insert(images, split)
    with pytest.raises(UserError, match="needs a dataset with class labels"):
        mislabelled.insert(ImageSet(images.pixels, images.digests, images.ids, {}, None), split)
    assert len(noise.insert(images, split)[0]) == 451
    few = [Noise(**SETTINGS | {"count": 10, "seed": seed}) for seed in range(20)]
    with pytest.raises(UserError, match=r"raise canaries\.count=10"):
        [each.insert(images, split) for each in few]


@pytest.mark.parametrize(("seed", "counts", "use"), [(8, "4 of the 4", "fit"), (9, "0 of the 2", "calibrate")])
def test_a_fitted_attack_needs_canaries_of_both_sides_to_be_fitted_and_to_be_calibrated_on(
    images: ImageSet, split: Split, seed: int, counts: str, use: str
) -> None:
    few = Noise(**SETTINGS | {"count": 30, "seed": seed})
    few.insert(images, split)  # enough for an attack that fits nothing
    with pytest.raises(
        UserError,
        match=rf"include {counts} canaries that {use} .* raise canaries.count=30 or canaries.attack_train=0.2",
    ):
        few.insert(images, split, fitted=True)


def test_a_run_is_refused_before_its_attack_is_fitted_on_canaries_of_one_side(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="canaries that calibrate the attack, and both sides need some"):
        run_here(tmp_path, "+attack=cdi", "canaries=noise", "canaries.count=20", base=MEMORIZING)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    {
        ("+attack=blind", "canaries=noise"): "attack=blind queries none",
        ("+attack=stat", "canaries=noise", "quality=measured"): "quality is measured on the attacked images",
        ("+attack=stat", "canaries=mislabelled"): "target=ddpm_small takes none",
    }.items(),
)
def test_what_canaries_can_not_be_used_with_is_refused(settings: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Components.from_config(compose_config(*settings, "trainer=cpu", "logger=none"))


def test_an_audit_on_canaries_says_so(tmp_path: Path) -> None:
    walk = ("attack.t_sec=20", "attack.t_max=20")
    folder = run_here(tmp_path, "+attack=stat", *walk, "canaries=noise", "canaries.count=100", base=MEMORIZING)
    results = json.loads((folder / "results.json").read_text())
    bound, scores = results["epsilon_lower_bound"], pq.read_table(folder / "scores.parquet").to_pydict()
    assert results["metrics"]["auc"] == 1.0
    assert results["split"]["canaries"] == {"kind": "noise", "count": 100, "included": sum(scores["is_member"])}
    assert results["split"]["members"] == 64 + sum(scores["is_member"])
    assert all(each.startswith("canary/") for each in scores["id"])
    assert bound["membership"] == "fair_coins"
    assert bound["abstaining"]["samples"] == 80
    assert bound["abstaining"]["epsilon"] > 1.0
    assert bound["one_run"] > 1.0
    assert "judged_on_canaries" in [warning["code"] for warning in results["warnings"]]
