"""The images alone tell nothing of membership on a sound split, and a split that they give away is found out."""

import logging
from pathlib import Path

import numpy as np
import pytest

from secmi_exp.attacks.image_features import coarse_view, low_level
from secmi_exp.data.digits import digit_pixels
from secmi_exp.data.images import Images
from secmi_exp.split_check import check_split
from secmi_exp.store import Store

N = 512


def digits(seed: int) -> tuple[Images, np.ndarray]:
    """Real digits, half of them members, drawn at random."""
    random = np.random.default_rng(seed)
    pixels = digit_pixels()[random.choice(1797, N, replace=False)][:, None]
    return Images.of(pixels), random.permutation(np.arange(N) % 2 == 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seeded_split_gives_nothing_away(tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    images, is_member = digits(seed)
    told = check_split(images, is_member, seed, Store(tmp_path))
    low, high = told["ci95"]  # type: ignore[misc]
    assert low < 0.5 < high
    assert not told["split_at_fault"]
    assert not caplog.text


def test_members_brightened_by_two_percent_are_found_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images, is_member = digits(0)
    pixels = images.pixels.copy()
    pixels[is_member] = np.rint(np.minimum(pixels[is_member] * 1.02, 255)).astype(np.uint8)
    told = check_split(Images.of(pixels), is_member, 0, Store(tmp_path))
    assert told["ci95"][0] > 0.95  # type: ignore[index]
    assert told["split_at_fault"]
    assert "a classifier that never sees the target tells members from hold-outs" in caplog.text


def test_the_check_is_made_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    images, is_member = digits(0)
    store = Store(tmp_path)
    assert check_split(images, is_member, 0, store) == check_split(images, is_member, 0, store)
    assert "Reused blind" in caplog.text


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 10), (3, 32, 32)])
def test_features_are_an_images_own(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    for features in (low_level, coarse_view):
        all_of_them = features(Images.of(pixels))
        assert len(all_of_them) == 5
        assert np.isfinite(all_of_them).all()
        np.testing.assert_allclose(features(Images.of(pixels[3:4])), all_of_them[3:4], rtol=1e-5)


def test_low_level_features_are_what_they_say() -> None:
    pixels = np.random.default_rng(0).integers(0, 4, (2, 3, 6, 6), dtype=np.uint8)
    shares = low_level(Images.of(pixels))[:, : 3 * 256].reshape(2, 3, 256)
    for image in range(2):
        for channel in range(3):
            counts = np.bincount(pixels[image, channel].ravel(), minlength=256)
            np.testing.assert_allclose(shares[image, channel], counts / 36, rtol=1e-6)
    views = coarse_view(Images.of(np.repeat(np.repeat(pixels[:, :, :4, :4], 4, 2), 4, 3)))[:, :-2]
    means = np.repeat(np.repeat(pixels[:, :, :4, :4], 2, 2), 2, 3).reshape(2, -1) / 255
    np.testing.assert_allclose(views, means, rtol=1e-5)
