"""Jobs on several devices: two processes a job give what one gives, end in one result, and end together."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from secmi_exp.__main__ import only_shows
from secmi_exp.engine import rank_group as meeting
from secmi_exp.engine.launch import launched_rank
from secmi_exp.engine.rank_group import RankGroup
from secmi_exp.engine.rank_info import RankInfo
from secmi_exp.engine.trainers import make_trainer
from secmi_exp.errors import UserError
from secmi_exp.testing import cpu_runtime
from tests.support import failing_stages
from tests.support.commands import NN, REPOSITORY, SMOKE, Command, SmokeRun, training
from tests.support.processes import TWO, children, gone
from tests.support.runs import run_here

SLOW = pytest.mark.slow


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


@pytest.mark.slow
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
        "SLURM_STEP_ID": "0", "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1",
    }  # fmt: skip
    arguments = ["+attack=stat", "logger=none", *SMOKE, "target.max_steps=4", TWO]
    tasks = [secmi.start(*arguments, **slurm, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in range(2)]
    outcomes = [task.communicate(timeout=240) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outcomes
    assert len([*(secmi.folder / "outputs").rglob("results.json")]) == 1
    assert outcomes[1][0] == ""


FOR_EVER = ["logger=none", *SMOKE, "target.max_steps=100000", "target.checkpoint_every=5", TWO]


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run_in_a_sentence_and_the_run_continues(secmi: Command) -> None:
    with secmi.running(training, *FOR_EVER) as process:
        (rank_1,) = children(process.pid)
        os.kill(rank_1, signal.SIGKILL)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    (sentence,) = [line for line in stderr.splitlines() if line.startswith("secmi_exp: ")]
    named = f"Rank 1 (process {rank_1} on {socket.gethostname()}) was ended by SIGKILL"
    assert named in sentence
    assert "in the stage train, which" in sentence
    with secmi.running(training, *FOR_EVER) as again:
        assert again.stderr
        assert any("Continuing target from step=" in line for line in again.stderr)


@pytest.mark.slow
def test_a_rank_of_torchrun_that_dies_ends_the_run_in_a_sentence(secmi: Command) -> None:
    secmi.module = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0", "-m", "secmi_exp",
    ]  # fmt: skip
    with secmi.running(training, *FOR_EVER) as process:
        rank_0, rank_1 = sorted(children(process.pid))
        os.kill(rank_1, signal.SIGKILL)
        try:
            _, stderr = process.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):  # torchrun puts them into process groups of their own
                os.kill(rank_0, signal.SIGKILL)
    assert process.returncode == 1
    (sentence,) = [line for line in stderr.splitlines() if line.startswith("secmi_exp: ")]
    assert f"Rank 1 (process {rank_1} on" in sentence
    own = stderr.partition("torch.distributed.elastic.multiprocessing.errors.ChildFailedError")[0]
    assert 'File "secmi_exp' not in own.replace(str(REPOSITORY) + "/", "")


@pytest.mark.slow
def test_ranks_end_with_the_run(secmi: Command) -> None:
    with secmi.running(training, *FOR_EVER) as process:
        (rank_1,) = children(process.pid)
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
    ("how", "kind", "told"),
    [
        ("killed", UserError, r"^Rank 1 \(process \d+ on .*\) was ended by SIGKILL, .* in the stage fails,"),
        pytest.param("exits", UserError, r"^Rank 1 .* has ended with status 3 .* in the stage fails", marks=SLOW),
        pytest.param("mistake", UserError, r"^That was a mistake\.$", marks=SLOW),
        pytest.param("full", OSError, r"^\[Errno 28\] No space left on device$", marks=SLOW),
        pytest.param("fault", RuntimeError, r"^Rank 1 .* has failed \('a fault'\): see its output above", marks=SLOW),
    ],
)
def test_what_happens_to_another_rank_is_told_by_the_first(how: str, kind: type[Exception], told: str) -> None:
    team = RankGroup(RankInfo(world_size=2), start=True)
    with pytest.raises(kind, match=told):
        team.run_on_all_ranks(failing_stages.fails, how, devices=2, rank_0_keywords={})
    assert team.closed
    assert all(child.returncode is not None for child in team.children.values())


@pytest.mark.slow
def test_a_first_rank_that_would_wait_for_ever_is_ended_with_the_sentence() -> None:
    program = (
        "from secmi_exp.engine.rank_group import RankGroup, RankInfo; from tests.support.failing_stages import waits\n"
        "RankGroup(RankInfo(world_size=2), start=True).run_on_all_ranks(waits, devices=2, rank_0_keywords={})"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 1
    assert re.fullmatch(r"secmi_exp: Rank 1 .* was ended by SIGKILL, .* in the stage waits, .*\n", ended.stderr)


ALLOCATION = {"SLURM_JOB_ID": "70", "SLURM_JOB_NAME": "mysession", "SLURM_NTASKS": "4", "SLURM_NODELIST": "node[1-4]"}
"""What `salloc -J mysession -n 4` gives to all that runs inside of it."""
TASK = {"SLURM_PROCID": "2", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
STEP = {"SLURM_STEP_ID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "node[2-3]"}
TASK_3 = RankInfo(2, 4, 1, 1, "node2", 15000 + 70 + 3 * 997)
SHELL = {"SLURM_PTY_PORT": "34889", "SLURM_TASK_PID": "0"}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),  # in a batch script, where srun starts what it starts
        (ALLOCATION, None),  # salloc on the login node
        (ALLOCATION | TASK | {"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"} | SHELL, None),  # on the node
        (ALLOCATION | TASK | {"SLURM_STEP_ID": "4294967291"}, None),  # a batch script that says it is one
        (ALLOCATION | TASK | STEP | {"SLURM_STEP_NUM_TASKS": "1"}, None),  # srun -n 1 in an allocation of four
        (ALLOCATION | TASK | STEP | SHELL, None),  # by hand in the shell of srun -n 4 --pty bash
        (ALLOCATION | TASK | STEP, TASK_3),
        (ALLOCATION | TASK | STEP | {"SLURM_JOB_NAME": "interactive"}, TASK_3),  # srun in a session of salloc's
        (ALLOCATION | TASK | STEP | SHELL | {"SLURM_TASK_PID": str(os.getpid())}, TASK_3),  # srun --pty python …
        (
            {
                "TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "GROUP_RANK": "1",
                "MASTER_ADDR": "node0", "MASTER_PORT": "29500",
            },
            RankInfo(3, 4, 1, 1, "node0", 29500),
        ),
    ],
)  # fmt: skip
def test_where_a_launcher_put_this_process(environment: dict[str, str], place: RankInfo | None) -> None:
    assert launched_rank(environment) == place


def test_a_step_in_the_shell_of_another_inherits_its_terminal_and_has_none() -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as script:  # which srun would have started
        environment = ALLOCATION | TASK | STEP | SHELL | {"SLURM_TASK_PID": str(script.pid)}
        assert launched_rank(environment) == TASK_3
        script.kill()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg=job"], ["-c", "job"], ["--info"], ["--hydra-help"], ["-sc", "query=bash"]]
)
def test_what_only_shows_something_waits_for_nobody(arguments: list[str]) -> None:
    assert only_shows(["seed=1", *arguments])


@pytest.mark.parametrize("arguments", [[], ["-m", "seed=0,1"], ["-cd", "conf"], ["+attack=stat", "-cn=config"]])
def test_what_runs_something_waits(arguments: list[str]) -> None:
    assert not only_shows(arguments)


def test_help_answers_where_other_ranks_never_come(secmi: Command) -> None:
    finished = secmi("--help", **ALLOCATION, **TASK | {"SLURM_PROCID": "0"}, **STEP)
    assert finished.returncode == 0
    assert "+attack=nn" in finished.stdout


@pytest.mark.parametrize(("rank", "awaited"), [(0, "rank 1, 2"), (2, "rank 0")])
def test_a_rank_says_for_whom_it_waits_and_gives_up_in_a_sentence(
    rank: int, awaited: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(meeting, "ANNOUNCE_AFTER_S", 0.1)
    monkeypatch.setattr(meeting, "ARRIVAL", timedelta(seconds=1.2))
    with pytest.raises(UserError, match=f"Rank {rank} of 3 waits for {awaited} at .* in vain"):
        meeting._meet(RankInfo(rank, 3, port=meeting._free_port()))
    assert f"Rank {rank} of 3 waits for {awaited} at 127.0.0.1:" in caplog.text


def test_ranks_meet_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    port = meeting._free_port()
    with ThreadPoolExecutor() as pool:
        stores = list(pool.map(meeting._meet, [RankInfo(rank, 3, port=port) for rank in (2, 0, 1)]))
    assert len(stores) == 3
    assert caplog.text == ""


def test_another_number_of_processes_than_devices_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (ALLOCATION | TASK | STEP).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"4 processes were started for trainer.devices=2 on trainer.nodes=1"):
        run_here(tmp_path, TWO)
    assert not (tmp_path / "store").exists()


def test_one_device_in_an_allocation_of_several_tasks_is_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ALLOCATION.items():  # of which Lightning by itself would make four, and refuse them
        monkeypatch.setenv(name, value)
    assert make_trainer(cpu_runtime()).world_size == 1
