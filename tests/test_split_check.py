"""The images alone tell nothing of membership on a sound split, and a split that they give away is found out."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secmi_exp.attacks.signals.image_features import coarse_view, low_level
from secmi_exp.data.checks import split_check
from secmi_exp.data.checks.blind_views import Sizes
from secmi_exp.data.checks.split_check import check_split, trained_rows
from secmi_exp.data.digits import digit_pixels
from secmi_exp.data.images import Images, ImageSet, Rows
from secmi_exp.run_warnings import RunWarning, collect_warnings
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.testing import SmallPredictor
from tests.support.splits import halves, image_set

N = 512


def digits(seed: int) -> tuple[Images, np.ndarray]:
    """Real digits, half of them members, drawn at random."""
    random = np.random.default_rng(seed)
    pixels = digit_pixels()[random.choice(1797, N, replace=False)][:, None]
    return Images.from_pixels(pixels), random.permutation(np.arange(N) % 2 == 0)


def checked(
    store: Path,
    images: Images,
    is_member: np.ndarray,
    seed: int = 0,
    texts: Mapping[str, Sequence[str]] | None = None,
    sizes: Sizes | None = None,
) -> tuple[Any, list[RunWarning]]:
    with collect_warnings() as warnings:
        return check_split(images, is_member, seed, Store(store), texts or {}, sizes), warnings


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seeded_split_gives_nothing_away(tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    images, is_member = digits(seed)
    told, _ = checked(tmp_path, images, is_member, seed)
    low, high = told["ci95"]
    assert low < 0.5 < high
    assert not told["split_at_fault"]
    assert not caplog.text


def test_members_brightened_by_two_percent_are_found_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images, is_member = digits(0)
    pixels = images.pixels.copy()
    pixels[is_member] = np.rint(np.minimum(pixels[is_member] * 1.02, 255)).astype(np.uint8)
    told, _ = checked(tmp_path, Images.from_pixels(pixels), is_member)
    assert told["ci95"][0] > 0.95
    assert told["split_at_fault"]
    assert "a classifier that never sees the target tells members from hold-outs" in caplog.text


def test_the_check_is_made_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    images, is_member = few(N // 4)
    given = images, is_member, 0, {"prompts": words(N // 4)}, original_sizes(N // 4)
    assert checked(tmp_path, *given) == checked(tmp_path, *given)
    assert len([*tmp_path.glob("blind/*")]) == 3
    assert "Reused blind" in caplog.text


def words(n: int, seed: int = 0) -> list[str]:
    """Captions of three to eight words."""
    random = np.random.default_rng(seed)
    known = ["a", "cat", "dog", "house", "tree", "red", "small", "big", "running", "man", "street", "with", "behind"]
    return [" ".join(random.choice(known, random.integers(3, 9))) for _ in range(n)]


def original_sizes(n: int, seed: int = 0) -> Sizes:
    """Widths and heights of photographs."""
    usual = np.array([[640, 480], [480, 640], [640, 427], [500, 375]], dtype=np.int32)
    return usual[np.random.default_rng(seed).integers(0, len(usual), n)]


def few(n: int) -> tuple[Images, np.ndarray]:
    images, _ = digits(0)
    return Images.from_pixels(images.pixels[:n]), np.random.default_rng(0).permutation(np.arange(n) % 2 == 0)


def test_prompts_and_sizes_that_say_nothing_are_not_blamed(tmp_path: Path) -> None:
    images, is_member = few(100)
    told, warnings = checked(tmp_path, images, is_member, 0, {"prompts": words(100)}, original_sizes(100))
    assert list(told["by"]) == ["pixels", "prompts", "original_sizes"]
    assert not any(kind["at_fault"] for kind in told["by"].values())
    assert not told["split_at_fault"]
    assert not warnings


def test_of_many_images_as_many_are_looked_at_as_memory_and_time_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_check, "MOST_A_SIDE", 30)
    images, is_member = few(100)
    told, _ = checked(tmp_path, images, is_member, 0, {"prompts": words(100)}, original_sizes(100))
    assert (told["images"], list(told["by"])) == (60, ["pixels", "prompts", "original_sizes"])
    again, _ = checked(tmp_path, images, is_member, 0, {"prompts": words(100)}, original_sizes(100))
    assert again == told


def test_seeds_that_scikit_learn_does_not_know_are_taken(tmp_path: Path) -> None:
    images, is_member = few(40)
    views = {"prompts": words(40)}, original_sizes(40)
    large, _ = checked(tmp_path, images, is_member, 2**32 + 1, *views)
    assert large == checked(tmp_path, images, is_member, 1, *views)[0]


def test_what_is_the_same_for_all_images_is_not_looked_at(tmp_path: Path) -> None:
    images, is_member = few(40)
    same = checked(tmp_path, images, is_member, 0, {"prompts": [""] * 40}, np.full((40, 2), 8, dtype=np.int32))
    assert list(same[0]["by"]) == ["pixels"]
    assert same[0]["auc"] == same[0]["by"]["pixels"]["auc"]


def test_two_styles_of_captions_are_found(tmp_path: Path) -> None:
    images, is_member = few(60)
    animals = np.random.default_rng(0).choice(["cat", "dog", "horse"], 60)
    styles = [
        f"a photo of a {each}" if known else f"{each}, 4k" for each, known in zip(animals, is_member, strict=True)
    ]
    told, (warning,) = checked(tmp_path, images, is_member, 0, {"prompts": styles}, original_sizes(60))
    assert [kind for kind, facts in told["by"].items() if facts["at_fault"]] == ["prompts"]
    assert told["split_at_fault"]
    assert (warning.code, warning.grave) == ("split_at_fault", True)
    assert "by the prompts alone (AUC 1.000" in warning.sentence
    assert "pixels" not in warning.sentence


def test_class_labels_would_be_looked_at_too(tmp_path: Path) -> None:
    images, is_member = few(60)
    labels = [str(label) for label in np.where(is_member, 7, np.arange(60) % 10)]
    told, (warning,) = checked(tmp_path, images, is_member, 0, {"class_labels": labels})
    assert told["by"]["class_labels"]["at_fault"]
    assert "by the class labels alone" in warning.sentence


def test_sides_that_were_resized_from_other_sizes_are_found(tmp_path: Path) -> None:
    images, is_member = few(60)
    sizes = np.where(is_member[:, None], 512, original_sizes(60)).astype(np.int32)
    _, (warning,) = checked(tmp_path, images, is_member, 0, {"prompts": words(60)}, sizes)
    assert "by the original sizes alone (AUC 1.000" in warning.sentence
    assert "prompts" not in warning.sentence


def test_several_kinds_are_named_together(tmp_path: Path) -> None:
    images, is_member = few(60)
    captions = [text.upper() if known else text for text, known in zip(words(60), is_member, strict=True)]
    sizes = np.where(is_member[:, None], 512, original_sizes(60)).astype(np.int32)
    told, (warning,) = checked(tmp_path, images, is_member, 0, {"prompts": captions}, sizes)
    assert "by the prompts alone (AUC 1.000" in warning.sentence
    assert "and by the original sizes alone (AUC 1.000" in warning.sentence
    assert told["ci95"][0] > 0.8


def stated(n: int = 80) -> ImageSet:
    return image_set(n, is_member=np.arange(n) < n // 2)


def trained(images: ImageSet, rows: Rows | None) -> PreparedTarget:
    """A target whose record names the images of these rows; without, none."""
    return PreparedTarget(Path(), "", SmallPredictor, trained_on=None if rows is None else images.select(rows).digest)


def test_a_target_from_elsewhere_saw_all_stated_members_and_one_trained_here_those_drawn() -> None:
    images = stated()
    split = halves(images, members=20)
    with collect_warnings() as warnings:
        assert trained_rows(split, images, trained(images, split.members)).tolist() == split.members.tolist()
        for target in (None, trained(images, None), trained(images, np.arange(40))):
            assert trained_rows(split, images, target).tolist() == list(range(40))
        drawn = halves(80)
        assert trained_rows(drawn, image_set(80), None).tolist() == drawn.members.tolist()
    assert not warnings


def test_a_record_of_other_training_images_than_the_stated_members_is_told() -> None:
    images = stated()
    with collect_warnings() as warnings:
        trained_rows(halves(images, members=20), images, trained(images, np.arange(10)))
    (warning,) = warnings
    assert (warning.code, warning.side) == ("trained_on_other_images", "members")
    assert "other images than the 40 stated members" in warning.sentence


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 10), (3, 32, 32)])
def test_features_are_an_images_own(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    for features in (low_level, coarse_view):
        all_of_them = features(Images.from_pixels(pixels))
        assert len(all_of_them) == 5
        assert np.isfinite(all_of_them).all()
        np.testing.assert_allclose(features(Images.from_pixels(pixels[3:4])), all_of_them[3:4], rtol=1e-5)


def test_low_level_features_are_what_they_say() -> None:
    pixels = np.random.default_rng(0).integers(0, 4, (2, 3, 6, 6), dtype=np.uint8)
    shares = low_level(Images.from_pixels(pixels))[:, : 3 * 256].reshape(2, 3, 256)
    for image in range(2):
        for channel in range(3):
            counts = np.bincount(pixels[image, channel].ravel(), minlength=256)
            np.testing.assert_allclose(shares[image, channel], counts / 36, rtol=1e-6)
    views = coarse_view(Images.from_pixels(np.repeat(np.repeat(pixels[:, :, :4, :4], 4, 2), 4, 3)))[:, :-2]
    means = np.repeat(np.repeat(pixels[:, :, :4, :4], 2, 2), 2, 3).reshape(2, -1) / 255
    np.testing.assert_allclose(views, means, rtol=1e-5)
