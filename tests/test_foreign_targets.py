"""Attacks on targets that a run did not train: with images of one's own, with listed rows, and with a run's split."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from diffusers import DDPMPipeline, DDPMScheduler

from secmi_exp.attacks.scorers.feature_classifier import FeatureClassifier
from secmi_exp.errors import UserError
from tests.support.audits import SHORT, audit, checkpoint, results, sides
from tests.support.commands import REPOSITORY, Command, SmokeRun
from tests.support.diffusers_folders import change_weights, network
from tests.support.runs import run_here


@pytest.mark.parametrize("weights", ["ema", pytest.param("net", marks=pytest.mark.slow)])
def test_a_checkpoint_of_the_authors_is_audited_with_images_of_ones_own(tmp_path: Path, weights: str) -> None:
    path = checkpoint(tmp_path)
    content = audit(tmp_path, "secmi_checkpoint", path, *sides(tmp_path), f"target.weights={weights}")
    assert content["target"] == "secmi_checkpoint"
    assert content["queries_per_sample"] == 3
    assert content["split"]["members"] == content["split"]["holdouts"] == 12
    assert DDPMPipeline.from_pretrained(content["target_folder"], low_cpu_mem_usage=False).unet.config.sample_size == 8
    scores = pq.read_table(content["folder"] / "scores.parquet").to_pydict()
    for name, is_member in zip(scores["id"], scores["is_member"], strict=True):
        assert name.startswith("members/") == is_member
    assert not (content["folder"] / "samples.png").exists()


def test_a_pipeline_from_elsewhere_is_audited_by_rows_of_a_published_dataset(tmp_path: Path) -> None:
    DDPMPipeline(unet=network(channels=1), scheduler=DDPMScheduler()).save_pretrained(tmp_path / "model")
    np.savez(tmp_path / "rows.npz", mia_train_idxs=np.arange(30), mia_eval_idxs=np.arange(100, 130), ratio=0.5)
    content = audit(tmp_path, "diffusers", tmp_path / "model", "split=indices", f"split.path={tmp_path}/rows.npz")
    assert content["target_folder"] == str(tmp_path / "model")
    assert content["target_trained_here"] is False
    assert content["split"]["share_of_dataset"] == pytest.approx(60 / 1797)
    with np.load(content["folder"] / "split.npz") as saved:
        assert saved["mia_eval_idxs"].tolist() == list(range(100, 130))


@pytest.mark.slow
def test_values_that_are_not_finite_are_refused_before_anything_is_fitted_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    DDPMPipeline(unet=network(), scheduler=DDPMScheduler()).save_pretrained(folder)
    change_weights(folder, lambda weights: weights["conv_out.weight"].mul_(1e30))
    monkeypatch.setattr(FeatureClassifier, "fit_and_score", None)
    message = r"of attack=gsa are not finite for 24 of 24 images.* weights are finite, and its predictions are not"
    with pytest.raises(UserError, match=message):
        audit(tmp_path, "diffusers", folder, *sides(tmp_path), attack=["+attack=gsa", "attack.timesteps=2"])


def test_a_membership_drawn_at_random_is_no_truth_about_a_foreign_target(tmp_path: Path) -> None:
    DDPMPipeline(unet=network(channels=1), scheduler=DDPMScheduler()).save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="state which images it saw, by dataset=image_folder"):
        audit(tmp_path, "diffusers", tmp_path / "model")
    assert not [*tmp_path.glob("store/t_errors/*")]


@pytest.mark.parametrize("place", ["run", pytest.param("store", marks=pytest.mark.slow)])
def test_a_target_of_our_own_is_attacked_again_without_training(
    smoke: SmokeRun, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = results(smoke.finished.folder)
    path = smoke.finished.folder if place == "run" else Path(before["target_folder"])
    store = f"paths.store={smoke.command.folder}/outputs/store"
    content = audit(tmp_path, "ddpm", path, "split=indices", f"split.path={smoke.finished.folder}/split.npz", store)
    assert content["target_folder"] == before["target_folder"]
    assert (content["folder"] / "samples.png").exists()
    assert "Training" not in caplog.text
    assert content["split"]["members"] == 64
    halves = ["split.members=64", "split.holdouts=64", store]
    assert audit(tmp_path, "ddpm", path, *halves)["split"] == content["split"]
    caplog.clear()
    audit(tmp_path, "ddpm", path, *halves, "attack.t_max=100", "attack.t_sec=30")
    assert "Reused t_errors" in caplog.text  # of the run that trained it
    with pytest.raises(UserError, match="not on the members that this split has drawn"):
        audit(tmp_path, "ddpm", path, *halves, "seed=1")


def spoiled(folder: Path) -> None:
    (weights,) = folder.rglob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])


def test_a_path_without_a_target_of_ours_is_told(smoke: SmokeRun, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=r"other holds neither unet/config\.json nor"):
        audit(tmp_path, "ddpm", tmp_path / "other")
    copied = tmp_path / "copied"
    shutil.copytree(results(smoke.finished.folder)["target_folder"], copied)
    with pytest.raises(UserError, match=r"1 channels and 8×8 pixels, and .* 1 channels and 16×16"):
        audit(tmp_path, "ddpm", copied, "dataset.image_size=16")
    spoiled(copied)
    with pytest.raises(UserError, match="copied is damaged"):
        audit(tmp_path, "ddpm", copied)


@pytest.mark.parametrize("target", ["secmi_checkpoint", "diffusers"])
def test_a_target_without_its_path_is_asked_for_it(tmp_path: Path, target: str) -> None:
    with pytest.raises(UserError, match=r"^target\.path has no default: add target\.path="):
        run_here(tmp_path, *SHORT, f"target={target}", base=["trainer=cpu"])


@pytest.mark.slow
def test_the_readmes_audit_command(secmi: Command) -> None:
    sides(secmi.folder)
    checkpoint(secmi.folder)
    line = next(line for line in (REPOSITORY / "README.md").read_text().splitlines() if "dataset.members=A" in line)
    arguments = line.removeprefix("python -m secmi_exp ").split()
    arguments += ["dataset.image_size=8", "split.attack_train=0.5", "attack.t_sec=20", "logger=none"]
    finished = secmi(*arguments)
    assert finished.returncode == 1
    assert "exceeds the last timestep of the target's schedule: choose at most 40" in finished.stderr
    finished = secmi(*arguments, "attack.t_max=40")
    assert finished.returncode == 0, finished.stderr
    assert "secmi_checkpoint, image_folder: 6 members" in " ".join(finished.stdout.split())
