"""`python -m secmi_exp.collection`: how much of a collection was used, and how many images it takes to tell."""

import json
import re
import shutil
from pathlib import Path

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


def test_runs_that_can_not_be_compared_are_refused(
    output: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = run_here(output, "+attack=stat", "attack.t_sec=20", "evaluation.blind=false", base=MEMORIZING)
    assert "have not the same settings of the attack" in refused(capsys, str(run), "--reference", str(other))
    fitted = shutil.copytree(run, tmp_path / "fitted")
    results = json.loads((fitted / "results.json").read_text())
    results["attack_settings"]["scorers"]["stat"]["class"] = "this.module.is.never.Imported"
    (fitted / "results.json").write_text(json.dumps(results))
    assert "is fitted anew in each run" in refused(capsys, str(fitted), "--reference", str(fitted))


@pytest.mark.parametrize("field", ["attack_settings", "provenance"])
def test_results_that_lack_what_runs_are_recognised_by_end_in_a_sentence(
    run: Path, tmp_path: Path, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    older = shutil.copytree(run, tmp_path / "older")
    results = json.loads((older / "results.json").read_text())
    del results[field]
    (older / "results.json").write_text(json.dumps(results))
    assert "lacks what the run's attack and target are recognised by" in refused(capsys, str(older))
    assert "can't be read" in refused(capsys, str(tmp_path / "nowhere"))
