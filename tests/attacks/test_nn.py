"""SecMI_NN chooses its network and timesteps by cross-validation on the attack-train part, and on nothing else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers import nn_choice
from secmi_exp.attacks.scorers.nn import ErrorMapClassifier
from secmi_exp.attacks.scorers.nn_choice import stratified_folds
from secmi_exp.attacks.scorers.scorer import FACTS, Fitting
from secmi_exp.attacks.signals.error_maps import ErrorMaps
from secmi_exp.configuration.folders import CONF
from secmi_exp.data.images import ImageSet, Rows
from secmi_exp.data.split import Halves, Part, Split
from secmi_exp.engine.training import fit
from secmi_exp.errors import UserError
from secmi_exp.testing import cpu_runtime, no_logger
from tests.support.runs import MEMORIZING, run_here

N = 400
FITTED = np.arange(120)
FRESH = np.arange(120, N)
SMALL = {"widths": [8], "weight_decays": [0.01], "steps": [60, 20], "lr": 1e-2, "batch_size": 64}


@pytest.fixture(autouse=True)
def light_resnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of 11 million weights a few, with batch normalisation as there."""

    def network(channels: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 1),
        )

    monkeypatch.setattr(nn_choice, "resnet18_network", network)


def classifier(**settings: Any) -> ErrorMapClassifier:
    """As in conf/attack/nn.yaml, with few steps."""
    text = (CONF / "attack/nn.yaml").read_text(encoding="utf-8")
    given = (
        yaml.safe_load(text)["scorers"]["nn"]
        | {"network": "auto", "seed": 0, "min_steps": 10, "epochs": 1, "small": SMALL}
        | settings
    )
    return ErrorMapClassifier(**{name: value for name, value in given.items() if name != "_target_"})


def planted(leaking: int = 20, seed: int = 0) -> tuple[ErrorMaps, NDArray[np.bool_]]:
    """Maps at 10 and 20, smaller on members at one of them; a classifier may choose to see both."""
    random = np.random.default_rng(seed)
    is_member = random.permutation(N) % 2 == 0
    size = {t: np.where(is_member & (t == leaking), 0.02, 0.03)[:, None, None, None] for t in (10, 20)}
    maps = {t: np.abs(random.normal(0, size[t], (N, 1, 6, 6))).astype(np.float16) for t in (10, 20)}
    return ErrorMaps(maps, (20,), ((10, 20),)), is_member


def fitted(folder: Path, maps: ErrorMaps, labels: NDArray[np.bool_], **settings: Any) -> NDArray[np.float64]:
    """Scores of all rows by a classifier that was fitted on some."""
    fitting = Fitting(FITTED, labels[FITTED], folder, cpu_runtime(), no_logger)
    return classifier(**settings).fit_and_score(Measurements({"error_map": maps}, 0, 0, ""), fitting)


def facts(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("network", ["auto", pytest.param("small", marks=pytest.mark.slow), "resnet18"])
def test_members_are_found_among_images_that_nothing_was_fitted_on(network: str, tmp_path: Path) -> None:
    maps, is_member = planted()
    more = {"lr": 0.1, "min_steps": 60} if network == "resnet18" else {}
    scores = fitted(tmp_path, maps, is_member, network=network, **more)
    assert roc_auc_score(is_member[FRESH], scores[FRESH]) > 0.9


def test_further_timesteps_are_taken_where_they_help_and_left_where_they_do_not(tmp_path: Path) -> None:
    for leaking, chosen in ((10, [10, 20]), (20, [20])):
        maps, is_member = planted(leaking)
        folder = tmp_path / str(leaking)
        folder.mkdir()
        scores = fitted(folder, maps, is_member)
        found = facts(folder)
        assert found["chosen"]["timesteps"] == chosen
        assert roc_auc_score(is_member[FRESH], scores[FRESH]) > 0.85
        best = max(found["candidates"], key=lambda each: each["auc"] or 0)
        assert found["chosen"] == best
        assert found["maps"] == len(FITTED)
        assert f"; AUC {best['auc']:.3f} in 3-fold cross-validation. Rejected: " in found["summary"]
        assert (
            f"small network of 8 channels on the maps at t_sec = {'10, 20' if leaking == 20 else '20'}, "
            in found["summary"]
        )


def test_cross_validated_auc_is_that_of_images_which_were_not_trained_on(tmp_path: Path) -> None:
    """Labels that are drawn at random can be learnt by heart, and then say nothing of other images."""
    maps, _ = planted()
    aucs, fresh = [], []
    for seed in range(3):
        labels = np.random.default_rng(10 + seed).permutation(N) % 2 == 0
        folder = tmp_path / str(seed)
        folder.mkdir()
        scores = fitted(folder, maps.at([20]), labels, small=SMALL | {"steps": [60]}, seed=seed)
        aucs.append(facts(folder)["chosen"]["auc"])
        fresh.append(roc_auc_score(labels[FRESH], scores[FRESH]))
    assert abs(np.mean(fresh) - 0.5) < 0.08
    assert np.mean(aucs) < 0.68  # the best of several, so a little above chance


def test_labels_of_the_evaluation_part_have_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = ["attack.t_sec=20", "attack.scorers.nn.min_steps=5", "attack.scorers.nn.small.steps=[10,5]"]

    def ran(store: str) -> tuple[NDArray[np.bool_], NDArray[np.float64], dict[str, Any]]:
        (tmp_path / store).mkdir()
        folder = run_here(tmp_path / store, "+attack=nn", *fast, "split.attack_train=0.5", base=MEMORIZING)
        table = pq.read_table(folder / "scores.parquet")
        content: dict[str, Any] = json.loads((folder / "results.json").read_text())
        labels = table["is_member"].to_numpy(zero_copy_only=False)
        return labels, table["score_nn"].to_numpy(), content["fitted"]

    labels, scores, found = ran("as_they_are")
    split = Halves.split

    def permuted(self: Halves, images: ImageSet, alike: Rows | None = None) -> Split:
        made = split(self, images, alike)
        judged = np.flatnonzero(made.of_part(Part.EVALUATION))
        is_member = made.is_member.copy()
        is_member[judged] = np.random.default_rng(1).permutation(is_member[judged])
        return replace(made, is_member=is_member)

    monkeypatch.setattr(Halves, "split", permuted)
    other_labels, other_scores, other_found = ran("permuted")
    assert (labels != other_labels).any()
    assert np.array_equal(scores, other_scores)
    assert found == other_found


def test_a_killed_choice_goes_on_where_it_was_and_gives_the_same_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, is_member = planted(10)
    trained: list[str] = []

    def watched(module: Any, *arguments: Any, workspace: Path, **keywords: Any) -> None:
        if len(trained) == killed_before:
            raise KeyboardInterrupt
        trained.append(workspace.name)
        fit(module, *arguments, workspace=workspace, **keywords)

    monkeypatch.setattr(nn_choice, "fit", watched)
    folders = [tmp_path / name for name in ("undisturbed", "killed")]
    for folder in folders:
        folder.mkdir()
    killed_before = -1
    few = {"small": SMALL | {"steps": [20, 10]}}
    undisturbed = fitted(folders[0], maps, is_member, **few)
    whole = list(trained[:-1])
    trained.clear()
    for fits in (1, 2):
        killed_before = fits
        with pytest.raises(KeyboardInterrupt):
            fitted(folders[1], maps, is_member, **few)
    killed_before = -1
    scores = fitted(folders[1], maps, is_member, **few)
    assert trained[:-1] == whole  # and none of them twice
    assert np.array_equal(scores, undisturbed)
    assert facts(folders[1]) == facts(folders[0])


def test_the_papers_network_alone_is_stored_under_the_key_that_it_had(tmp_path: Path) -> None:
    """Before there was a choice, the settings were these."""
    settings = classifier(network="resnet18").settings()
    assert settings == {
        "epochs": 1, "min_steps": 10, "batch_size": 128, "lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4, "seed": 0,
    }  # fmt: skip
    maps, is_member = planted()
    fitted(tmp_path, maps.at([20]), is_member, network="resnet18")
    assert not (tmp_path / FACTS).exists()


def test_too_few_maps_for_cross_validation_get_the_first_small_network(tmp_path: Path) -> None:
    maps, is_member = planted()
    rows = np.concatenate([np.flatnonzero(is_member)[:5], np.flatnonzero(~is_member)[:5]])
    fitting = Fitting(rows, is_member[rows], tmp_path, cpu_runtime(), no_logger)
    classifier().fit_and_score(Measurements({"error_map": maps}, 0, 0, ""), fitting)
    found = facts(tmp_path)
    assert found["chosen"]["steps"] == SMALL["steps"][0]  # type: ignore[index]
    assert found["chosen"]["auc"] is None
    assert "6 maps a side are needed" in found["summary"]


def test_a_resnet_that_is_far_below_the_best_is_not_trained_without_the_other_folds(tmp_path: Path) -> None:
    maps, is_member = planted()
    fitted(tmp_path, maps, is_member, lr=1e-9)  # whose network learns nothing
    found = {(each["network"], tuple(each["timesteps"])): each for each in facts(tmp_path)["candidates"]}
    assert len(found["resnet18", (20,)]["aucs"]) == 1
    assert len(found["small", (20,)]["aucs"]) == 3


def test_folds_are_balanced_and_drawn_by_the_seed() -> None:
    is_member = np.arange(25) < 11
    folds = stratified_folds(is_member, 3, 0)
    for side in (is_member, ~is_member):
        counts = np.bincount(folds[side])
        assert counts.max() - counts.min() <= 1
    assert not np.array_equal(folds, stratified_folds(is_member, 3, 1))


def test_batches_of_two_leave_folds_without_enough_images(tmp_path: Path) -> None:
    maps, is_member = planted()
    fitted(tmp_path, maps, is_member, batch_size=2, small=SMALL | {"batch_size": 2, "steps": [4]}, min_steps=4)
    assert np.isfinite([each["auc"] for each in facts(tmp_path)["candidates"]]).all()


def test_maps_without_timesteps_are_classified_too(tmp_path: Path) -> None:
    """Such as those of an attack of one's own."""
    maps, is_member = planted()
    array: Any = maps.maps[20]
    assert roc_auc_score(is_member[FRESH], fitted(tmp_path, array, is_member, network="small")[FRESH]) > 0.9
    assert facts(tmp_path)["chosen"]["timesteps"] is None


def test_nn_sees_the_maps_of_several_timesteps_as_channels(tmp_path: Path) -> None:
    def ran(*overrides: str) -> tuple[int, list[float]]:
        fast = ["attack.t_sec=20", "attack.scorers.nn.network=small", "attack.scorers.nn.small.steps=[2]"]
        folder = run_here(tmp_path, "+attack=nn", *fast, *overrides, base=MEMORIZING)
        queries = json.loads((folder / "results.json").read_text())["queries_per_sample"]
        return queries, pq.read_table(folder / "scores.parquet")["score_nn"].to_pylist()

    (queries, one), (more_queries, three) = ran("attack.stacked=[]"), ran("attack.stacked=[10,40]")
    assert (queries, more_queries) == (3, 5)
    assert one != three
    maps = {10 * i: np.random.default_rng(i).random((5, 2, 4, 4)).astype(np.float16) for i in range(3)}
    stacked = ErrorMaps(maps, (0, 10, 20))
    assert stacked.shape == (5, 6, 4, 4)
    assert np.array_equal(stacked[np.array([3, 1])][:, 2:4], maps[10][[3, 1]])
    with pytest.raises(UserError, match=r"attack\.stacked=15 is not a multiple"):
        ran("attack.stacked=[15]")
