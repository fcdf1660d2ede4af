"""`python -m secmi_exp.collection`: how much of a collection was used, and how many images it takes to tell."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secmi_exp import collection
from tests.support.runs import MEMORIZING, run_here


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("collection")


@pytest.fixture(scope="module")
def run(output: Path) -> Path:
    return run_here(output, "+attack=stat", "evaluation.blind=false", base=MEMORIZING)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        collection.main(arguments)
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_a_collection_that_was_used_whole_is_bounded_estimated_and_told_by_few_images(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collection.main([str(run)])
    told = capsys.readouterr().out
    least = re.search(r"At least (\d+)% of the collection was used", told)
    assert least
    assert int(least[1]) > 80
    assert "Images it takes to tell" in told
    assert (run / "power.png").is_file()
    collection.main([str(run), "--reference", str(run)])
    share = re.search(r"used: (\d+)% \[(\d+)%, (\d+)%\]", capsys.readouterr().out)
    assert share
    value, low, high = map(int, share.groups())
    assert low <= value <= high
    assert value == 100


def changed(run: Path, copy: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """A copy of a run with other results."""
    shutil.copytree(run, copy)
    results = json.loads((copy / "results.json").read_text())
    change(results)
    (copy / "results.json").write_text(json.dumps(results))
    return str(copy)


def test_no_numbers_are_told_where_a_runs_figures_are_no_measure_of_a_leak(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grave = {"code": "split_at_fault", "sentence": "The split is at fault.", "grave": True}
    doubtful = changed(run, tmp_path / "doubtful", lambda results: results["warnings"].append(grave))
    (tmp_path / "doubtful" / "power.png").unlink(missing_ok=True)
    for arguments in ([doubtful], [doubtful, "--reference", str(run)], [str(run), "--reference", doubtful]):
        collection.main(arguments)
        told = capsys.readouterr().out
        assert f"The figures of {doubtful} are no measure of a leak" in told
        assert told.count("The split is at fault.") == 1
        assert "%" not in told
    assert not (tmp_path / "doubtful" / "power.png").exists()


def test_a_threshold_that_calls_nobody_is_told_from_one_that_was_not_calibrated(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(collection, "ROUNDS", 2)
    monkeypatch.setattr(collection, "draw_power", lambda *given: None)

    def call_nobody(results: dict[str, Any]) -> None:
        results["threshold"]["calibrated"] = None  # as strict JSON has infinity

    def calibrate_none(results: dict[str, Any]) -> None:
        call_nobody(results)
        results["metrics"]["accuracy_calibrated"] = None

    nobody, none = changed(run, tmp_path / "nobody", call_nobody), changed(run, tmp_path / "none", calibrate_none)
    for arguments, sentence in (
        ([nobody], "At least 0% of the collection was used: no threshold calls more members than hold-outs on"),
        ([str(run), "--reference", nobody], "gives no share: no threshold calls more members than hold-outs on"),
        ([none], "The run has no calibrated threshold, so that nothing can be said of the share: judge more"),
        ([str(run), "--reference", none], "has no calibrated threshold, so that it gives no share: judge more"),
    ):
        collection.main(arguments)
        assert sentence in capsys.readouterr().out


def test_runs_that_can_not_be_compared_are_refused(
    output: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = run_here(output, "+attack=stat", "attack.t_sec=20", "evaluation.blind=false", base=MEMORIZING)
    assert "have not the same settings of the attack" in refused(capsys, str(run), "--reference", str(other))

    def fit(results: dict[str, Any]) -> None:
        results["attack_settings"]["scorers"]["stat"]["class"] = "this.module.is.never.Imported"

    fitted = changed(run, tmp_path / "fitted", fit)
    assert "is fitted anew in each run" in refused(capsys, fitted, "--reference", fitted)


@pytest.mark.parametrize("field", ["attack_settings", "provenance"])
def test_results_that_lack_what_runs_are_recognised_by_end_in_a_sentence(
    run: Path, tmp_path: Path, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    older = changed(run, tmp_path / "older", lambda results: results.pop(field))
    assert "lacks what the run's attack and target are recognised by" in refused(capsys, older)
    assert "can't be read" in refused(capsys, str(tmp_path / "nowhere"))


def test_scores_that_are_not_there_end_in_a_sentence_that_names_them_once(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = changed(run, tmp_path / "alone", lambda results: None)
    (tmp_path / "alone" / "scores.parquet").unlink()
    told = refused(capsys, alone)
    assert "scores.parquet can't be read (No such file or directory)" in told
    assert told.count("scores.parquet") == 1
