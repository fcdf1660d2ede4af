"""Extraction: the published ratio by brute force, and members that a target gives away in its samples."""

import json
from pathlib import Path

import numpy as np
import pytest

from secmi_exp.attacks.signals import sample_distances
from secmi_exp.attacks.signals.sample_distances import least_ratio, mean_of_nearest
from secmi_exp.errors import UserError
from tests.attacks.test_generated_scores import brute, colored, rows_of
from tests.support.runs import MEMORIZING, run_here

EXTRACTION = ["+attack=extraction", "attack.samples=64", "attack.steps=4"]


@pytest.mark.parametrize("block", [8 * 192 * 3, 2**25])
def test_the_ratio_is_the_published_one(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_distances, "BLOCK_BYTES", block)
    monkeypatch.setattr(sample_distances, "MOST_ROWS", 5)
    images, samples = rows_of("pixels", colored(13, 0), np.concatenate([colored(9, 1), colored(1, 0)]))
    distances = brute(images, samples)  # [image, sample]
    mean = np.sort(distances, axis=0)[:4].mean(axis=0)
    np.testing.assert_allclose(mean_of_nearest(images, samples, 4), mean, atol=1e-9)
    np.testing.assert_allclose(least_ratio(images, samples, 0.5 * mean), (distances / (0.5 * mean)).min(axis=1))
    assert least_ratio(images, samples, 0.5 * mean)[0] == 0  # of which there is a copy among the samples


def test_a_sample_that_equals_many_images_copies_none_of_them() -> None:
    images, samples = rows_of("pixels", np.repeat(colored(1, 0), 5, axis=0), np.repeat(colored(2, 0), [2, 1], axis=0))
    scale = 0.5 * mean_of_nearest(images, samples, 5)
    assert scale.tolist()[:2] == [0, 0]
    assert (least_ratio(images, samples, scale) >= 2).all()


def test_members_that_samples_copy_are_counted_and_limited(tmp_path: Path) -> None:
    folder = run_here(tmp_path, *EXTRACTION, "gate.max_extracted=0", base=MEMORIZING)
    results = json.loads((folder / "results.json").read_text())
    assert results["extracted"]["members"] > 20
    assert results["extracted"]["holdouts"] < 6  # digits that look like a copied one
    assert results["metrics"]["auc"] > 0.7
    assert results["gate"]["outcome"] == "failed"
    assert f"is {results['extracted']['members']}, above gate.max_extracted=0" in (folder / "gate.md").read_text()
    again = run_here(tmp_path, *EXTRACTION, "gate.max_extracted=64", base=MEMORIZING)
    assert json.loads((again / "results.json").read_text())["gate"]["outcome"] == "passed"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+attack=stat", "gate.max_extracted=0"], r"attack=stat doesn't look for them: choose \+attack=extraction"),
        ([*EXTRACTION, "attack.neighbours=200"], r"attack\.neighbours=200 exceeds the 128 attacked images"),
    ],
)
def test_what_can_not_be_counted_is_refused(tmp_path: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        run_here(tmp_path, *overrides, base=MEMORIZING)
