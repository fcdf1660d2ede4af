"""Killed with kill -9 in any stage, the same command continues to the undisturbed result; two at once share work."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.commands import NN, SMOKE, Command, SmokeRun
from tests.support.damaging import flip, truncate, zero
from tests.support.processes import in_classifier, in_training, in_walk


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [in_training, in_walk, in_classifier],
    ids=lambda stage: stage.__name__,
)
def test_killed_run_continues_to_the_undisturbed_result(
    secmi: Command, smoke: SmokeRun, stage: Callable[[Path], bool]
) -> None:
    arguments = [*NN, "logger=none", "attack.scorers.nn.checkpoint_every=10"]
    secmi.kill_when(stage, *arguments)
    finished = secmi(*arguments)
    assert finished.returncode == 0, finished.stderr
    if stage is in_training:
        assert "Continuing target from step=0000000" in finished.stderr
    else:
        assert "Reused target" in finished.stderr
    if stage is in_classifier:
        assert "Continuing nn from step=" in finished.stderr
    table, undisturbed = (
        pq.read_table(folder / "scores.parquet") for folder in (finished.folder, smoke.finished.folder)
    )
    assert table.equals(undisturbed)  # bit for bit, on one machine's CPU
    assert not any((secmi.folder / "outputs/store/work").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, truncate, zero], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("stage", [in_training, in_walk, in_classifier], ids=lambda stage: stage.__name__)
def test_what_was_damaged_after_the_kill_is_not_continued(
    secmi: Command, smoke: SmokeRun, stage: Callable[[Path], bool], damage: Callable[[Path], None]
) -> None:
    arguments = [*NN, "logger=none", "attack.scorers.nn.checkpoint_every=10"]
    secmi.kill_when(stage, *arguments)
    for file in [*secmi.folder.glob("outputs/store/work/**/*")]:
        if file.is_file():
            damage(file)
    finished = secmi(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert "Continuing " not in finished.stderr
    tables = [pq.read_table(folder / "scores.parquet") for folder in (finished.folder, smoke.finished.folder)]
    assert tables[0].equals(tables[1])
    assert not any((secmi.folder / "outputs/store/work").iterdir())


@pytest.mark.slow
def test_two_runs_with_the_same_target_at_once_train_it_once(secmi: Command) -> None:
    arguments = ["+attack=stat", "logger=none", *SMOKE]
    processes = [secmi.start(*arguments) for _ in range(2)]
    outcomes = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outcomes
    assert sum(stderr.count("Training ddpm_small") for _, stderr in outcomes) == 1
    assert sum("waiting for it" in stderr or "Reused target" in stderr for _, stderr in outcomes) >= 1
    first, second = (json.loads((Path(out.splitlines()[-1]) / "results.json").read_text()) for out, _ in outcomes)
    assert first["metrics"] == second["metrics"]
