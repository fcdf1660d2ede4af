"""Sweeps by any launcher: the same table as one job after the other, and nothing computed twice."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from sklearn.metrics import roc_auc_score

from secmi_exp.configuration.command_errors import explain
from secmi_exp.evaluation.delong import paired_test
from tests.support.commands import CONF, SMOKE, Command, Finished

ARGUMENTS = ["-m", "+attack=stat", "attack.t_sec=range(10,81,10)", "logger=none", *SMOKE, "trainer.progress_bar=false"]


def table(sweep: Finished) -> list[dict[str, str]]:
    assert sweep.returncode == 0, sweep.stderr
    with (sweep.folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def times_trained(sweep: Finished) -> int:
    return sum("Training ddpm_small" in log.read_text() for log in sweep.folder.glob("*/secmi_exp.log"))


def found(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """All but what each job happened to pay."""
    return [{name: value for name, value in row.items() if name not in ("queries_spent", "seconds")} for row in rows]


@pytest.mark.slow
def test_eight_jobs_side_by_side_give_the_table_of_a_serial_sweep(tmp_path: Path) -> None:
    sweeps = {}
    for launcher in ("basic", "workstation"):
        folder = tmp_path / launcher
        folder.mkdir()
        sweeps[launcher] = Command(folder)(*ARGUMENTS, f"hydra/launcher={launcher}")
    serial, parallel = (table(sweep) for sweep in sweeps.values())
    assert len(serial) == 8
    assert [row["attack.t_sec"] for row in serial] == [str(t) for t in range(10, 81, 10)]
    assert found(parallel) == found(serial)
    for sweep, rows in zip(sweeps.values(), (serial, parallel), strict=True):
        assert times_trained(sweep) == 1
        assert sum(int(row["queries_spent"]) for row in rows) == 128 * 11
        assert "The sweep made 1,408 queries" in sweep.stdout


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "workstation"])
def test_a_failing_job_leaves_the_others_and_its_reason(secmi: Command, launcher: str) -> None:
    arguments = [argument.replace("range(10,81,10)", "20,25,30") for argument in ARGUMENTS]
    sweep = secmi(*arguments, f"hydra/launcher={launcher}")
    assert sweep.returncode == 1
    assert "secmi_exp: attack.t_sec=25 is not a multiple" in sweep.stderr
    assert "Traceback" not in sweep.stderr
    lines = sweep.stdout.splitlines()
    assert "1 of 3 jobs failed:" in lines
    assert any(line.startswith("  1: attack.t_sec=25 is not a multiple of the DDIM interval") for line in lines)
    with (sweep.folder / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["attack.t_sec"] for row in rows] == ["20", "30", "25"]
    assert [bool(row["auc"]) for row in rows] == [True, True, False]
    assert rows[2]["failure"].startswith("attack.t_sec=25 is not a multiple")


@pytest.mark.slow
def test_a_killed_sweep_over_two_axes_goes_on_and_ends_in_a_map(secmi: Command) -> None:
    arguments = ["-m", "+attack=stat", "attack.t_sec=20,40", "attack.k=10,20", "logger=none", *SMOKE]
    secmi.kill_when(lambda store: any(store.glob("t_errors/*/entry.json")), *arguments)
    sweep = secmi(*arguments)
    rows = table(sweep)
    assert [(row["attack.t_sec"], row["attack.k"]) for row in rows] == [
        ("20", "10"), ("20", "20"), ("40", "10"), ("40", "20"),
    ]  # fmt: skip
    assert times_trained(sweep) == 0
    assert sum(int(row["queries_spent"]) for row in rows) <= 128 * (11 + 6)
    assert (sweep.folder / "sweep.png").is_file()
    summary = pa.parquet.read_table(sweep.folder / "summary.parquet").to_pylist()
    assert [row["auc"] for row in summary] == [float(row["auc"]) for row in rows]


@pytest.mark.slow
def test_a_job_runs_through_submitit(secmi: Command) -> None:
    arguments = [argument.replace("range(10,81,10)", "20") for argument in ARGUMENTS]
    (row,) = table(secmi(*arguments, "hydra/launcher=submitit_local"))
    assert row["queries_per_sample"] == "3"


def test_the_slurm_preset_asks_for_what_the_trainer_uses() -> None:
    overrides = ["hydra/launcher=slurm", "trainer.devices=4", "trainer.nodes=2"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        launcher = compose("config", overrides, return_hydra_config=True).hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == (2, 4, 4)
    assert launcher.max_num_timeout > 0


@pytest.mark.slow
def test_a_sweep_over_attacks_ends_with_their_comparison(secmi: Command) -> None:
    arguments = ["-m", "+attack=stat,loss,sima", "logger.mode=offline", *SMOKE, "trainer.progress_bar=false"]
    sweep = secmi(*arguments)
    assert len(table(sweep)) == 3
    with (sweep.folder / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scored = {}
    for row in rows:
        scores = pa.parquet.read_table(sweep.folder / row["job"] / "scores.parquet")
        judged = np.array(scores["part"].to_pylist()) == "evaluation"
        is_member = scores["is_member"].to_numpy()[judged]
        scored[row["attack"]] = scores[f"score_{row['scorer']}"].to_numpy()[judged]
    assert sorted(scored) == ["loss", "sima", "stat"]
    aucs = [roc_auc_score(is_member, scores) for scores in scored.values()]
    assert [float(row["auc"]) for row in rows] == pytest.approx(aucs)
    assert aucs == sorted(aucs, reverse=True)
    best, *others = scored.values()
    tests = [paired_test(scores, best, is_member) for scores in others]
    assert [float(row["p_value"]) for row in rows[1:]] == pytest.approx([test.p_value for test in tests])
    assert {row["attack"]: row["queries_per_sample"] for row in rows} == {"loss": "5", "sima": "1", "stat": "4"}
    assert len({row["target"] for row in rows}) == 1
    names = {path.name for path in sweep.folder.iterdir()}
    assert names >= {"comparison.parquet", "comparison_pairs.csv", "comparison_roc.png", "comparison_cost.png"}
    assert "3 attacks compared" in sweep.stdout
    assert len(list(sweep.folder.glob("wandb/offline-run-*"))) == 1
    assert len(list(sweep.folder.glob("*/wandb/offline-run-*"))) == 3


@pytest.mark.parametrize("missing", ["hydra/launcher/joblib", "hydra/launcher/submitit_slurm"])
def test_a_launcher_that_is_not_installed_is_named_with_the_packages_that_bring_it(missing: str) -> None:
    error = MissingConfigException("", missing, ["basic", "slurm", "workstation"])
    assert explain(error, [], CONF) == (
        f"There is no hydra/launcher '{missing.rpartition('/')[2]}' here: choose one of basic, slurm, workstation, or "
        "get Hydra's plugins by pip install hydra-joblib-launcher hydra-submitit-launcher."
    )


def test_a_search_without_its_plugin_names_the_package_that_brings_it() -> None:
    error = MissingConfigException("", "hydra/sweeper/sampler/tpe", [])
    assert explain(error, [], CONF) == (
        "There is no hydra/sweeper/sampler 'tpe' here: get Hydra's plugins by pip install hydra-optuna-sweeper."
    )
