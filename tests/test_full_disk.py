"""Whatever disk is full, at whatever stage, a run ends in one sentence, and continues once there is room."""

import errno
import json
import os
import resource
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from secmi_exp.__main__ import close_failed_sweep
from secmi_exp.errors import UserError
from secmi_exp.reporting import sweep_callback, sweep_output
from secmi_exp.testing import run
from tests.support.commands import NN, SmokeRun
from tests.support.private_mounts import run_mounted, small
from tests.support.processes import largest_file

FIGURES = {"roc.png", "roc_log.png", "scores.png", "exposed.png", "t_errors.png", "relative_t_error.png"}


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def test_a_full_output_folder_is_told_as_that_and_what_is_only_shown_costs_nothing(
    smoke: SmokeRun, tmp_path: Path
) -> None:
    shared = [f"paths.store={smoke.command.folder}/outputs/store", "evaluation.bootstrap_rounds=10"]
    with pytest.raises(UserError) as raised, largest_file(5000):
        run(tmp_path, *NN, *shared)
    assert str(raised.value).startswith(f"The output folder {tmp_path}/runs/")
    assert "File too large" in str(raised.value)
    assert "or set paths.output to a folder elsewhere" in str(raised.value)
    with largest_file(30_000):
        folder = run(tmp_path, *NN, *shared)
    assert not FIGURES & {path.name for path in folder.iterdir()}
    assert results(folder)["metrics"] == results(smoke.finished.folder)["metrics"]


@pytest.mark.parametrize("writer", ["write_csv", "write_parquet"])
def test_a_sweep_that_cant_be_closed_is_told_in_a_sentence_and_hides_no_job_s(
    writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "0/.hydra").mkdir(parents=True)
    (tmp_path / "0/.hydra/overrides.yaml").write_text("[seed=1]")
    (tmp_path / "0/failure.txt").write_text("A job's own sentence.")
    monkeypatch.setattr(sweep_output, writer, fail)
    for close in (sweep_callback.close_open_sweep, close_failed_sweep):
        monkeypatch.setattr(sweep_callback, "_open", sweep_callback.OpenSweep(tmp_path, None))
        if close is close_failed_sweep:
            close()
        else:
            with pytest.raises(UserError, match=rf"^The output folder {tmp_path} has no room left"):
                close()
    assert "The sweep's tables are not written: The output folder" in caplog.text


TINY = [
    "attack.scorers.nn.network=small", "attack.scorers.nn.small.steps=[4]", "attack.scorers.nn.checkpoint_every=2",
    "target.max_steps=4", "target.checkpoint_every=2", "trainer.progress_bar=false",
    "evaluation.bootstrap_rounds=10",
]  # fmt: skip


SIZES = [*range(20, 420, 80), *range(420, 3000, 400), 6000, 20_000, 60_000, 120_000, 250_000, 400_000]
"""KiB that a disk has; the error-map classifier's checkpoints are the largest files."""


def run_on_growing_disks(disk: str, output: str) -> None:
    """Run again and again on a disk that gets larger; print the sentences, and at last the run's folder."""
    for size in SIZES:
        os.system(f"mount -o remount,size={size}k {disk}")
        try:
            folder = run(Path(output), *NN, f"paths.store={disk}/store", *TINY)
        except UserError as error:
            print(f"told: {error}", flush=True)
        else:
            print(f"ended: {folder}", flush=True)
            return


@pytest.mark.slow
def test_a_store_whose_disk_grows_ends_with_the_results_of_one_that_had_room(tmp_path: Path) -> None:
    (disk := tmp_path / "disk").mkdir()
    program = "import sys; from tests.test_full_disk import run_on_growing_disks; run_on_growing_disks(*sys.argv[1:])"
    ended = run_mounted(small(disk, "20k"), program, str(disk), str(tmp_path / "out"), timeout=900)
    assert ended.returncode == 0, ended.stderr
    told = [line for line in ended.stdout.splitlines() if line.startswith("told: ")]
    assert len(told) > 6
    assert all(f"The store {disk}/store has no room left" in line or " of temporary files " in line for line in told)
    (folder,) = [line.removeprefix("ended: ") for line in ended.stdout.splitlines() if line.startswith("ended: ")]
    undisturbed = run(tmp_path / "undisturbed", *NN, *TINY)
    assert pq.read_table(Path(folder) / "scores.parquet").equals(pq.read_table(undisturbed / "scores.parquet"))


@pytest.mark.slow
def test_a_limit_on_file_sizes_that_grows_ends_with_the_results_of_a_run_without(tmp_path: Path) -> None:
    sentences, limit = [], 500
    while True:
        try:
            with largest_file(limit):
                folder = run(tmp_path, *NN, *TINY)
        except UserError as error:
            sentences.append(str(error))
            limit *= 2
        else:
            break
    assert len(sentences) > 8
    assert all("can't take a file larger than" in sentence for sentence in sentences)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    undisturbed = run(tmp_path / "undisturbed", *NN, *TINY)
    assert pq.read_table(folder / "scores.parquet").equals(pq.read_table(undisturbed / "scores.parquet"))
