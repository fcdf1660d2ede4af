"""Images that a network's features find alike: mirrored copies and crops too; computed once, and asked for by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from secmi_exp.configuration.components import Components
from secmi_exp.data.copies import near_duplicate_facts
from secmi_exp.data.images import ImageSet
from secmi_exp.data.near_duplicates import connected
from secmi_exp.errors import UserError
from secmi_exp.pipeline import split_images
from secmi_exp.quality.inception import unit_features
from secmi_exp.split_checks import similar_images
from secmi_exp.split_checks.similar_images import Similarity, find_alike, similar_groups
from secmi_exp.store import Store
from secmi_exp.testing import compose_config, cpu_runtime
from tests.support.inception import inception_weights
from tests.support.runs import run_here
from tests.support.splits import halves_rule, image_set

SIDE = 18
BLOCKS = np.random.default_rng(0).integers(0, 256, (8, 1, 3, 3), dtype=np.uint8)
WIDE = np.kron(BLOCKS, np.ones((1, 1, 6, 6), np.uint8))


class Network(torch.nn.Module):
    """Random filters, and the means of their maps: features as Inception has them, of a few pixels' structure."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.filters = torch.nn.Conv2d(3, 256, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.filters(images / 255 - 0.5).relu().mean(dim=(2, 3))


def images_with_copies() -> ImageSet:
    """Eight images, a mirrored copy of each, and one that can't be read."""
    pixels = np.concatenate([WIDE, WIDE[..., ::-1], np.zeros_like(WIDE[:1])])
    return image_set(17, unreadable=[16], pixels=pixels)


def test_mirrored_images_have_the_same_features_and_others_have_not() -> None:
    features = unit_features(images_with_copies().pixels[:16], Network(), torch.device("cpu")).astype(np.float64)
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-3)
    cosines = features @ features.T
    assert np.diag(cosines[:8, 8:]) == pytest.approx(1, abs=1e-3)
    assert (cosines[:8, :8][~np.eye(8, dtype=bool)] < 0.995).all()


def test_groups_are_those_of_all_pairs_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).normal(size=(60, 3))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float16)
    exact = features.astype(np.float32)
    expected = connected(np.arange(60), np.argwhere(exact @ exact.T >= 0.95))
    assert 10 < len(np.unique(expected)) < 50
    for size in (1024, 60, 7, 1):
        monkeypatch.setattr(similar_images, "COMPARED", size)
        assert np.array_equal(similar_groups(features, 0.95), expected)


def test_features_are_computed_once_and_searched_by_any_similarity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.pth").write_bytes(b"of Inception")
    images, runtime = images_with_copies(), cpu_runtime()
    monkeypatch.setattr(similar_images, "inception", lambda weights, setting: Network())
    near = find_alike(images, Store(tmp_path), runtime, Similarity(tmp_path / "weights.pth", 0.995))
    assert near.alike.tolist() == [*range(8), *range(8), 16]
    assert (near.untold, near.similarity) == ("", 0.995)
    monkeypatch.delattr(similar_images, "inception")
    again = find_alike(images, Store(tmp_path), runtime, Similarity(tmp_path / "weights.pth", 0.995))
    assert np.array_equal(again.alike, near.alike)
    all_alike = find_alike(images, Store(tmp_path), runtime, Similarity(tmp_path / "weights.pth", 0.1)).alike
    assert all_alike.tolist() == [0] * 16 + [16]
    alone = find_alike(images, Store(tmp_path), runtime, None)
    assert "too small for a perceptual hash" in alone.untold


def test_where_no_image_can_be_read_none_is_looked_at(tmp_path: Path) -> None:
    """The split has the sentence for it."""
    images = image_set(2, unreadable=[0, 1], pixels=WIDE[:2])
    similarity = Similarity(tmp_path / "weights.pth", 0.95)
    assert find_alike(images, Store(tmp_path), cpu_runtime(), similarity).similarity is None


def test_weights_that_are_not_there_or_not_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"split.inception=\S+ is no file"):
        halves_rule(inception=tmp_path / "none.pth").check()
    with pytest.raises(UserError, match=r"near_duplicates=off looks for no images that are alike"):
        halves_rule(inception=tmp_path / "none.pth", near_duplicates="off").check()
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    similarity = Similarity(tmp_path / "weights.pth", 0.95)
    with pytest.raises(UserError, match=r"split.inception=\S+ can't be read as Inception's weights"):
        find_alike(images_with_copies(), Store(tmp_path), cpu_runtime(), similarity)


def test_a_job_splits_by_what_the_features_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pth").write_bytes(b"of Inception")
    monkeypatch.setattr(similar_images, "inception", lambda weights, setting: Network())
    found = [f"split.inception={tmp_path}/weights.pth", "split.similarity=0.995"]
    for choice, together in (("report", False), ("group", True)):
        job = compose_config("trainer=cpu", "logger=none", "split.members=8", f"split.near_duplicates={choice}", *found)
        images, split, near = split_images(Components.from_config(job), images_with_copies(), Store(tmp_path))
        assert near
        facts = near_duplicate_facts(split, images, near, grouped=together)
        assert (facts["groups"], facts["holdouts_like_a_member"] == 0, facts["similarity"]) == (8, together, 0.995)


@pytest.mark.slow
def test_a_run_keeps_mirrored_copies_on_one_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = inception_weights(tmp_path / "inception.pth", monkeypatch)
    for row, image in enumerate([*WIDE[:, 0], *WIDE[:, 0, :, ::-1]]):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / f"images/{row:02d}.png")
    given = ["dataset=image_folder", f"dataset.path={tmp_path}/images", f"dataset.image_size={SIDE}"]
    found = [f"split.inception={weights}", "split.similarity=0.9999", "split.near_duplicates=group"]
    small = ["dataset.channels=1", "split.attack_train=0.5", "evaluation.bootstrap_rounds=20"]
    folder = run_here(tmp_path, "+attack=blind", *given, *found, *small, base=[])
    told = json.loads((folder / "results.json").read_text())["split"]["near_duplicates"]
    assert told == {"groups": 8, "members": 8, "holdouts": 8, "holdouts_like_a_member": 0, "similarity": 0.9999}
