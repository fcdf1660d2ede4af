"""What a run leaves behind, what it reuses, and what a sweep shares."""

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DDPMPipeline
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score

import secmi_exp
from tests.support.commands import SMOKE, Command, Finished, SmokeRun
from tests.support.runs import run_here
from tests.support.wandb_file import Records, all_records, artifacts, logged_names, summarized_names


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def test_directory_holds_results_scores_figures_config_and_log(smoke: SmokeRun) -> None:
    names = {path.name for path in smoke.finished.folder.iterdir()}
    assert names >= {
        "results.json", "scores.parquet", "config.yaml", "secmi_exp.log", "samples.png",
        "roc.png", "roc_log.png", "t_errors.png", "relative_t_error.png", "scores.png",
    }  # fmt: skip
    config = OmegaConf.load(smoke.finished.folder / "config.yaml")
    assert config.attack.t_sec == config.dataset.suggested.t_sec


def test_results_have_the_fields_that_readers_rely_on(smoke: SmokeRun) -> None:
    content = results(smoke.finished.folder)
    assert content["schema"] == 1
    assert (content["attack"], content["dataset"], content["target"]) == ("nn", "digits", "ddpm_small")
    assert content["n_member"] == content["n_holdout"] == 51
    assert content["queries_per_sample"] == 4  # timesteps 0, 10, 20, 30
    assert content["trajectory"]["queries_per_sample"] == list(range(2, 12))
    assert set(content["threshold"]) == {"oracle", "calibrated"}
    assert {"data", "target", "signal", "scores", "evaluation"} <= set(content["timing_s"])
    assert "torch" in content["versions"]
    assert content["versions"]["secmi_exp"] == content["provenance"]["code"]["version"] == secmi_exp.__version__
    for judged in (content, content["others"]["stat"]):
        assert set(judged["metrics"]) == set(judged["ci95"])
        low, high = judged["ci95"]["auc"]
        assert low <= judged["metrics"]["auc"] <= high
        assert judged["metrics"]["tpr_at_0.1pct_fpr"] is None
        assert "1,000 hold-outs" in judged["unresolved"]["tpr_at_0.1pct_fpr"]


def test_scores_give_the_reported_auc_on_the_evaluation_part(smoke: SmokeRun) -> None:
    content, table = results(smoke.finished.folder), pq.read_table(smoke.finished.folder / "scores.parquet")
    rows = {name: np.array(values) for name, values in table.to_pydict().items()}
    judged = rows["part"] == "evaluation"
    for name, reported in (("nn", content), ("stat", content["others"]["stat"])):
        auc = roc_auc_score(rows["is_member"][judged], rows[f"score_{name}"][judged])
        assert reported["metrics"]["auc"] == pytest.approx(auc, abs=1e-6)
    assert len(set(rows["id"])) == len(rows["id"]) == 128


def test_target_is_a_diffusers_folder_with_safetensors(smoke: SmokeRun) -> None:
    found = results(smoke.finished.folder)
    assert found["target_trained_here"]
    folder = Path(found["target_folder"])
    assert (folder / "unet/diffusion_pytorch_model.safetensors").exists()
    assert not [*folder.rglob("*.ckpt"), *folder.rglob("*.bin")]
    pipeline = DDPMPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    images = pipeline(num_inference_steps=2, generator=generator, output_type="np").images
    assert images.shape == (1, 8, 8, 1)


def test_standard_output_is_the_table_and_the_directory(smoke: SmokeRun) -> None:
    lines = smoke.finished.stdout.splitlines()
    assert "AUC" in smoke.finished.stdout
    assert "not resolved" in smoke.finished.stdout
    assert smoke.finished.folder.is_absolute()
    assert smoke.finished.folder.is_dir()
    assert not any("Training" in line for line in lines)


def test_same_command_again_reuses_everything_and_says_so(smoke: SmokeRun, smoke_again: Finished) -> None:
    for kind in ("target", "t_errors", "error_maps", "scores"):
        assert f"Reused {kind}" in smoke_again.stderr
    assert "Training" not in smoke_again.stderr
    assert results(smoke_again.folder)["metrics"] == results(smoke.finished.folder)["metrics"]
    assert sum(results(smoke_again.folder)["timing_s"].values()) < 20


@pytest.mark.slow
def test_another_attack_shares_the_target_and_another_timestep_the_trajectory(smoke: SmokeRun) -> None:
    sweep = smoke.command("-m", "+attack=stat", "attack.t_sec=20,40,60,80,100", "logger=none", *SMOKE)
    assert sweep.returncode == 0, sweep.stderr
    assert "Training" not in sweep.stderr
    assert "Walking" not in sweep.stderr
    *folders, _ = [Path(line) for line in sweep.stdout.splitlines() if line.startswith("/")]
    assert [results(folder)["t_sec"] for folder in folders] == [20, 40, 60, 80, 100]
    assert [results(folder)["queries_per_sample"] for folder in folders] == [3, 5, 7, 9, 11]


@pytest.mark.slow
def test_a_sweep_from_nothing_trains_once_and_walks_once(secmi: Command) -> None:
    sweep = secmi("-m", "+attack=stat", "attack.t_sec=20,40,60,80,100", "logger=csv", *SMOKE)
    assert sweep.returncode == 0, sweep.stderr
    assert sweep.stderr.count("parameters) on 64 members") == 1
    assert sweep.stderr.count("Walking 128 trajectories from t = 0 to 100: 11 predictions each.") == 1
    *folders, _ = [Path(line) for line in sweep.stdout.splitlines() if line.startswith("/")]
    assert len(folders) == 5
    assert "target/loss" in (folders[0] / "metrics.csv").read_text()
    assert "stat/auc" in (folders[-1] / "metrics.csv").read_text()


def test_without_an_attack_the_target_is_trained_and_the_next_step_named(
    smoke: SmokeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_here(smoke.command.folder / "outputs")
    assert "+attack=nn" in capsys.readouterr().out
    content = results(folder)
    assert "metrics" not in content
    assert content["attack"] is None


def test_wandb_goes_offline_without_credentials_and_holds_config_history_and_charts(smoke: SmokeRun) -> None:
    written = all_records(smoke.finished.folder)
    config = {item.key: json.loads(item.value_json) for r in written for item in r.run.config.update}
    assert config["attack"]["t_sec"] == 30
    assert logged_names(written) >= {
        "target/loss", "target/images_per_s", "target/lr", "target/samples", "nn/loss",
        "stat/scores_members", "nn/scores_holdouts", "t_errors/members", "t_errors/holdouts",
        "metrics", "relative_t_error", "figures/roc", "attack/roc_table", "nn/roc_table", "stat/roc_table",
    }  # fmt: skip
    assert {"attack/auc", "nn/auc", "stat/auc"} <= summarized_names(written)
    charts = {tuple(item.nested_key): json.loads(item.value_json) for r in written for item in r.config.update}
    for name in ("attack", "nn", "stat"):
        chart = charts["_wandb", "visualize", f"{name}/roc"]["panel_config"]
        assert chart["panelDefId"] == "wandb/line/v0"
        assert chart["fieldSettings"] == {"x": "fpr", "y": "tpr", "stroke": None}


def test_all_that_is_logged_step_by_step_has_its_axis_at_wandb(smoke: SmokeRun) -> None:
    written = all_records(smoke.finished.folder)
    axes = {record.metric.name: record.metric.step_metric for record in written if record.HasField("metric")}
    trained = ("target/loss", "target/lr", "target/images_per_s", "target/samples", "nn/loss", "nn/images_per_s")
    assert {name: axis for name, axis in axes.items() if axis} == {
        **dict.fromkeys(trained, "trainer/global_step"), "relative_t_error": "t_sec",
    }  # fmt: skip
    for name, axis in axes.items():
        rows = [names for names in rows_of(written) if name in names]
        assert rows
        assert all(not axis or axis in names for names in rows)


def rows_of(written: Records) -> list[set[str]]:
    return [logged_names([record]) for record in written if record.HasField("history")]


ARTIFACTS = ["logger=wandb", "logger.mode=offline", "logger.artifacts=true"]


def test_the_run_that_trains_a_target_leaves_it_as_an_artifact(tmp_path: Path) -> None:
    folder = run_here(tmp_path, *ARTIFACTS, "target.max_steps=2", "trainer.progress_bar=false")
    found = artifacts(all_records(folder))
    used = {name: artifact.use_after_commit for name, artifact in found.items()}
    assert used == {"digits-split": True, "digits-ddpm_small": False}


@pytest.mark.slow
def test_asked_for_artifacts_an_attack_uses_target_and_split_and_leaves_its_scores(smoke: SmokeRun) -> None:
    folder = run_here(smoke.command.folder / "outputs", "+attack=stat", *ARTIFACTS)
    found = artifacts(all_records(folder))
    assert {name: (artifact.type, artifact.use_after_commit) for name, artifact in found.items()} == {
        "digits-split": ("dataset", True),
        "digits-ddpm_small": ("model", True),
        "digits-ddpm_small-stat": ("scores", False),
    }
    target = Path(results(folder)["target_folder"])
    kept = {file for file in target.rglob("*") if file.is_file()}
    kept |= {folder / name for name in ("split.npz", "scores.parquet", "results.json")}
    contents = [content for artifact in found.values() for content in artifact.manifest.contents]
    assert {Path(content.local_path) for content in contents} == kept
    for content in contents:
        assert base64.b64decode(content.digest) == hashlib.md5(Path(content.local_path).read_bytes()).digest()
    assert json.loads(found["digits-ddpm_small"].metadata)["digest"] == target.name


def test_tables_of_an_offline_run_wait_for_their_upload_in_its_directory(smoke: SmokeRun) -> None:
    written = all_records(smoke.finished.folder)
    assert not artifacts(written)
    tables = [content.local_path for record in written for content in record.artifact.manifest.contents]
    assert len(tables) == 4
    assert all(Path(table).is_file() and smoke.finished.folder in Path(table).parents for table in tables)


def test_a_damaged_entry_is_found_reported_and_computed_again(
    smoke: SmokeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    shutil.copytree(smoke.command.folder / "outputs/store", store)
    (weights,) = store.glob("target/*/unet/*.safetensors")
    flipped = bytearray(weights.read_bytes())
    flipped[-100] ^= 1
    weights.write_bytes(flipped)
    errors = next(store.glob("t_errors/*/t_errors.npy"))
    errors.write_bytes(errors.read_bytes()[:-8])
    folder = run_here(tmp_path, "+attack=stat")
    assert "safetensors has changed): computing it again" in caplog.text
    assert "bytes instead of" in caplog.text
    repeated, original = results(folder), results(smoke.finished.folder)
    assert repeated["metrics"] == original["others"]["stat"]["metrics"]
