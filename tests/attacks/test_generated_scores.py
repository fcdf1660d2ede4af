"""Attacks on samples: distances and shares by brute force, and scores that find what is planted and nothing else."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from secmi_exp.attacks import monte_carlo_set
from secmi_exp.attacks.logan_training import LocalGAN
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.monte_carlo_set import concentration, percentile
from secmi_exp.attacks.scorers.scorer import Fitting, LearnedScorer
from secmi_exp.attacks.signals import sample_distances
from secmi_exp.attacks.signals.sample_distances import nearest
from secmi_exp.attacks.signals.sample_features import FeatureRows, Features
from secmi_exp.attacks.tvd import HistogramRatio
from secmi_exp.data.images import Images
from secmi_exp.engine.batches import Piece
from secmi_exp.engine.optimization import Draws
from secmi_exp.errors import UserError
from secmi_exp.evaluation.delong import auc_interval
from secmi_exp.evaluation.roc import Roc
from secmi_exp.store import Store
from secmi_exp.testing import cpu_runtime, no_logger
from tests.support.memorizing import memorizing
from tests.support.query_attacks import attack

LEAST = {"gan_leaks": 0.99, "monte_carlo_set": 0.99, "over_representation": 0.9, "logan": 0.75, "tvd": 0.65}
"""Attack → the AUC that it reaches on a target whose samples are its members."""
ATTACKS = list(LEAST)
FEATURES = ["pixels", "pca", "hog", "color_histogram"]
SIDE = 60
"""Members, and as many hold-outs."""
DIGITS = (load_digits().images * 255 / 16).astype(np.uint8)[:, None]
IMAGES = Images.from_pixels(DIGITS[: 2 * SIDE])
IS_MEMBER = np.random.default_rng(2).permutation(2 * SIDE) < SIDE
"""In no relation to the digits, which come in order."""
MEMBERS = Images.from_pixels(IMAGES[np.flatnonzero(IS_MEMBER)])
OTHERS = Images.from_pixels(DIGITS[2 * SIDE : 3 * SIDE])
FIT = np.arange(SIDE)
JUDGED = np.arange(SIDE, 2 * SIDE)


def colored(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)


def rows_of(kind: Any, images: np.ndarray, samples: np.ndarray) -> tuple[FeatureRows, FeatureRows]:
    features = Features(kind, pca_components=5, hog_cell=4, histogram_bins=4, samples=samples)
    return FeatureRows(features, images), FeatureRows(features, samples)


def brute(images: FeatureRows, samples: FeatureRows) -> np.ndarray:
    a, b = images[:].astype(np.float64), samples[:].astype(np.float64)
    return np.array([[np.sqrt(((x - g) ** 2).sum()) for g in b] for x in a])


@pytest.mark.parametrize("kind", FEATURES)
def test_distances_and_concentrations_are_those_of_brute_force(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_distances, "BLOCK_BYTES", 8 * 192 * 3)  # many blocks, of 3 images with pixels
    monkeypatch.setattr(sample_distances, "MOST_ROWS", 5)
    images, samples = rows_of(kind, colored(13, 0), np.concatenate([colored(19, 1), colored(1, 0)]))
    expected = brute(images, samples)
    assert images.shape == images[:].shape
    np.testing.assert_allclose(nearest(images, samples), expected.min(axis=1), atol=1e-9)
    assert nearest(images, samples)[0] == 0  # the copy among the samples
    radius = float(np.median(expected))
    within = expected <= radius
    np.testing.assert_allclose(concentration(images, samples, radius, "count"), within.mean(axis=1))
    weights = np.where(within, -np.log((expected + 1e-6) / (radius + 1e-6)), 0.0)
    np.testing.assert_allclose(concentration(images, samples, radius, "log"), weights.mean(axis=1), rtol=1e-6)
    assert percentile(images, samples, 10) == pytest.approx(np.percentile(expected, 10))


def test_a_percentile_of_too_many_pairs_is_that_of_some_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monte_carlo_set, "PAIRS", 20 * 7)
    images, samples = rows_of("pixels", colored(13, 0), colored(20, 1))
    assert percentile(images, samples, 10) == pytest.approx(np.percentile(brute(images, samples)[::2], 10))


def test_features_are_what_they_are_called() -> None:
    images, _ = rows_of("pca", colored(6, 0), colored(30, 1))
    scaled = [each.reshape(len(each), -1) / 127.5 - 1 for each in (colored(6, 0), colored(30, 1))]
    expected = PCA(5, random_state=0).fit(scaled[1]).transform(scaled[0])
    np.testing.assert_allclose(images[:], expected, atol=1e-4)
    histogram = rows_of("color_histogram", colored(6, 0), colored(3, 1))[0][:]
    levels = colored(6, 0) // 64
    share = ((levels[:, 0] == 3) & (levels[:, 1] == 0) & (levels[:, 2] == 2)).mean(axis=(1, 2))
    np.testing.assert_allclose(histogram[:, 3 + 0 * 4 + 2 * 16], share)
    np.testing.assert_allclose(histogram.sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(UserError, match=r"attack\.hog_cell=9 exceeds the images' 8 pixels"):
        Features("hog", 1, 9, 1, colored(1, 0)).of(colored(1, 0))


@cache
def measured(name: str, planted: bool, root: Path) -> Measurements:
    few = ["attack.samples=400", "attack.steps=10"]
    if name in ("logan", "tvd"):
        few += [f"attack.training_steps={1500 if planted else 100}"]
    target = memorizing(MEMBERS if planted else OTHERS, f"planted={planted}")
    made: Measurements = attack(f"+attack={name}", *few).measure(
        target, IMAGES, Store(root), cpu_runtime(query_batch_size=400)
    )
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


def scores(name: str, measured: Measurements, is_member: np.ndarray, folder: Path) -> np.ndarray:
    fewer_bins = ["attack.scorers.tvd.bins=10"] if name == "tvd" else []  # there are 30 images a side to fit on
    scorer = attack(f"+attack={name}", *fewer_bins).scorers[name]
    if isinstance(scorer, LearnedScorer):
        return scorer.fit_and_score(measured, Fitting(FIT, is_member[FIT], folder, cpu_runtime(), no_logger))
    made: np.ndarray = scorer.score(measured)
    return made


@pytest.mark.parametrize(
    ("name", "least"),
    [pytest.param(*case, marks=pytest.mark.slow) if case[0] in ("logan", "tvd") else case for case in LEAST.items()],
)  # the discriminator's training takes a while
def test_members_that_the_target_gives_away_are_found(name: str, least: float, root: Path, tmp_path: Path) -> None:
    found = scores(name, measured(name, True, root), IS_MEMBER, tmp_path)
    assert Roc.from_scores(found[JUDGED], IS_MEMBER[JUDGED]).auc >= least


@pytest.mark.parametrize("name", ATTACKS)
def test_a_target_that_saw_neither_side_gives_chance(name: str, root: Path, tmp_path: Path) -> None:
    found = scores(name, measured(name, False, root), IS_MEMBER, tmp_path)
    low, high = auc_interval(found[JUDGED], IS_MEMBER[JUDGED])
    assert low < 0.5 < high


@pytest.mark.parametrize("name", ATTACKS)
def test_permuted_labels_give_chance(name: str, root: Path, tmp_path: Path) -> None:
    permuted = np.random.default_rng(0).permutation(IS_MEMBER)
    quick = name not in ("logan", "tvd")
    found = scores(name, measured(name, quick, root), permuted, tmp_path)
    low, high = auc_interval(found[JUDGED], permuted[JUDGED])
    assert low < 0.5 < high


@pytest.mark.parametrize("distance", ["count", "log"])
@pytest.mark.parametrize("radius", ["median", 5])
def test_the_monte_carlo_attack_chooses_its_radius_from_the_distances(radius: Any, distance: str, root: Path) -> None:
    made = attack(
        "+attack=monte_carlo_set", "attack.samples=400", "attack.steps=10", "attack.features=pixels",
        f"attack.radius={radius}", f"attack.distance={distance}",
    )  # fmt: skip
    target, store, runtime = memorizing(MEMBERS, "planted=True"), Store(root), cpu_runtime(query_batch_size=400)
    found = made.measure(target, IMAGES, store, runtime)
    distances = brute(*rows_of("pixels", IMAGES[:], made.sampling.draw(target, IMAGES, store, runtime).pixels[:]))
    expected = np.median(distances.min(axis=1)) if radius == "median" else np.percentile(distances, radius)
    assert found.facts["radius"] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(found.numbers["distance"], distances.min(axis=1), atol=1e-5)
    if distance == "count":
        np.testing.assert_allclose(found.numbers["concentration"], (distances <= expected).mean(axis=1))


def test_the_histogram_ratio_is_that_of_the_fitted_part(tmp_path: Path) -> None:
    probabilities = np.array([0.1, 0.1, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9])
    is_member = np.array([True, True, True, False, False, False])
    outputs = Measurements({"discriminator": np.log(probabilities / (1 - probabilities))}, 0, 0, "outputs")
    ratio = HistogramRatio("discriminator", bins=2, pseudo_count=1.0)
    found = ratio.fit_and_score(outputs, Fitting(np.arange(6), is_member, tmp_path, cpu_runtime(), no_logger))
    np.testing.assert_allclose(found, np.log(3 / 2) * np.where(probabilities < 0.5, 1, -1))  # 2 + 1 against 1 + 1


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 25, 25), (3, 32, 32)])
def test_each_network_of_the_local_gan_follows_its_own_loss(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = LocalGAN(attack("+attack=logan", "attack.width=2"), shape, fused=False)
    draws = Draws(Piece(0, 4, 4), torch.device("cpu"), 0, 0)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8))
    draws.begin()
    module.loss([pixels], draws).backward()
    taken = {name: weights.grad.clone() for name, weights in module.named_parameters() if weights.grad is not None}
    draws.begin()
    fake = module.generator(draws.normal(module.latent))
    judge = module.discriminator
    real, made = (torch.sigmoid(judge(images)) for images in (pixels / 127.5 - 1, fake.detach()))
    for network, loss in [
        ("discriminator", -(real.log() + (1 - made).log()).mean()),
        ("generator", -torch.sigmoid(judge(fake)).log().mean()),
    ]:
        weights = dict(getattr(module, network).named_parameters())
        for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            torch.testing.assert_close(taken[f"{network}.{name}"], gradient, rtol=1e-3, atol=1e-6)


def test_a_scorer_of_samples_says_where_it_belongs(tmp_path: Path) -> None:
    scorer: Any = attack("+attack=over_representation").scorers["over_representation"]
    bare = Measurements({"features": np.zeros((4, 2))}, 0, 0, "bare")
    with pytest.raises(UserError, match="needs samples of the target"):
        scorer.fit_and_score(bare, Fitting(np.arange(2), np.array([True, False]), tmp_path, cpu_runtime(), no_logger))
