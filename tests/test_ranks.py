"""Jobs on several devices: two processes a job give what one gives, end in one result, and end together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from secmi_exp.ranks import Place, launched_from_outside
from tests.conftest import NN, SMOKE, Command, SmokeRun

TWO = "trainer.devices=2"


def results(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "results.json").read_text())
    return content


def on_the_smoke_target(smoke: SmokeRun) -> list[str]:
    """Arguments that attack it anew, in another store."""
    folder = results(smoke.finished.folder)["target_folder"]
    return [
        "target=ddpm",
        f"target.path={folder}",
        "split.members=64",
        "split.holdouts=64",
        "trainer.query_batch_size=24",
    ]


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(secmi: Command, smoke: SmokeRun) -> None:
    arguments = [*NN, "logger=none", *on_the_smoke_target(smoke)]
    one, two = secmi(*arguments), secmi(*arguments, TWO, SECMI_STORE="another")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert "Walking" in two.stderr  # it found nothing done
    assert pq.read_table(two.folder / "scores.parquet").equals(pq.read_table(one.folder / "scores.parquet"))
    assert results(two.folder)["queries_spent"] == results(one.folder)["queries_spent"] == 128 * 11


@pytest.mark.slow
def test_two_processes_train_the_target_of_one(secmi: Command, smoke: SmokeRun) -> None:
    two = secmi("+attack=stat", "logger=none", *SMOKE, TWO)
    assert two.returncode == 0, two.stderr
    table, undisturbed = (pq.read_table(folder / "scores.parquet") for folder in (two.folder, smoke.finished.folder))
    np.testing.assert_allclose(table["t_error"], undisturbed["t_error"], rtol=1e-3)  # sums in another order


def test_a_sweep_of_jobs_of_two_processes_ends_with_one_result_each(secmi: Command) -> None:
    sweep = secmi("-m", "+attack=stat", "seed=0,1", "logger=none", *SMOKE, "target.max_steps=4", TWO)
    assert sweep.returncode == 0, sweep.stderr
    found = sorted((secmi.folder / "outputs").rglob("results.json"))
    assert [path.parent.name for path in found] == ["0", "1"]
    assert [results(path.parent)["seed"] for path in found] == [0, 1]
    assert len([*(secmi.folder / "outputs/sweeps").glob("*/*")]) == 1
    assert not (secmi.folder / "outputs/runs").exists()
    assert sweep.stderr.count("Walking") == 2


@pytest.mark.slow
def test_torchrun_starts_the_ranks_of_a_sweep(secmi: Command) -> None:
    secmi.module = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0", "-m", "secmi_exp",
    ]  # fmt: skip
    arguments = ["-m", "+attack=stat", "attack.t_sec=20,30", "logger=none", *SMOKE, "target.max_steps=4"]
    sweep = secmi(*arguments, TWO)
    assert sweep.returncode == 0, sweep.stderr
    assert len([*(secmi.folder / "outputs").rglob("results.json")]) == 2
    again = secmi(*arguments, TWO)  # with nothing left to compute, the other rank is let go all the same
    assert again.returncode == 0, again.stderr
    wrong = secmi("+attack=stat", "logger=none", *SMOKE, "seed=1")
    assert wrong.returncode != 0
    assert "2 processes were started for trainer.devices=1 on trainer.nodes=1" in wrong.stderr


@pytest.mark.slow
def test_tasks_of_slurm_are_the_ranks(secmi: Command) -> None:
    slurm = {
        "SLURM_STEP_ID": "0", "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NAME": "attack", "SLURM_NTASKS": "2",
        "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1",
    }  # fmt: skip
    arguments = ["+attack=stat", "logger=none", *SMOKE, "target.max_steps=4", TWO]
    tasks = [secmi.start(*arguments, **slurm, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in range(2)]
    outcomes = [task.communicate(timeout=240) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outcomes
    assert len([*(secmi.folder / "outputs").rglob("results.json")]) == 1
    assert outcomes[1][0] == ""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start_training(secmi: Command) -> tuple[subprocess.Popen[str], int]:
    """A run of two processes that trains for ever, and its second process."""
    arguments = ["logger=none", *SMOKE, "target.max_steps=100000", "target.checkpoint_every=5", TWO]
    process = secmi.start(*arguments)
    deadline = time.monotonic() + 120
    while not any((secmi.folder / "outputs/store").glob("work/target-*/scratch/checkpoints/*.ckpt")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (rank_1,) = children(process.pid)
    return process, rank_1


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run(secmi: Command) -> None:
    process, rank_1 = start_training(secmi)
    os.kill(rank_1, signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Rank 1 has ended with status -9" in stderr


@pytest.mark.slow
def test_ranks_end_with_the_run(secmi: Command) -> None:
    process, rank_1 = start_training(secmi)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while not gone(rank_1):
        assert time.monotonic() < deadline, "rank 1 outlives its run"
        time.sleep(0.1)


@pytest.mark.slow
def test_more_machines_than_one_need_a_launcher(secmi: Command) -> None:
    finished = secmi("+attack=stat", "logger=none", *SMOKE, "trainer.nodes=2")
    assert finished.returncode == 1
    assert "torchrun or SLURM must start" in finished.stderr


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),  # in a batch script, where srun starts what it starts
        (
            {
                "TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "GROUP_RANK": "1",
                "MASTER_ADDR": "node0", "MASTER_PORT": "29500",
            },
            Place(3, 4, 1, 1, "node0", 29500),
        ),
    ],
)  # fmt: skip
def test_where_a_launcher_put_this_process(environment: dict[str, str], place: Place | None) -> None:
    assert launched_from_outside(environment) == place
