"""One reader of results.json and one naming, for tables, figures and the page."""

import csv
import json
from pathlib import Path

import pytest

from secmi_exp.errors import UserError
from secmi_exp.reporting.page.render import page_entries
from secmi_exp.reporting.results_file import read_results
from secmi_exp.reporting.run_folders import find_runs, read_sweep
from secmi_exp.reporting.sweep_output import close_sweep
from tests.support.page_runs import amend
from tests.support.sweep_folder import SweepFolder

pytestmark = pytest.mark.usefixtures("unrendered")


def test_a_sweeps_table_and_the_page_name_the_same_entries_alike_and_in_the_same_order(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path)
    for noise, (k, other) in enumerate([(1, 1), (1, 2), (2, 1)]):
        sweep.job(["+attack=stat", f"attack.k={k}", f"target.k={other}"], {"stat": 1.0 + noise}, noise=noise)
    sweep.job(["+attack=nn", "attack.k=1", "target.k=1"], {"nn": 2.5, "stat": 0.3}, noise=9)
    close_sweep(tmp_path)
    with (tmp_path / "comparison.csv").open(newline="") as file:
        compared = [row["attack"] for row in csv.DictReader(file)]
    assert compared == [entry.name for entry in page_entries(find_runs([tmp_path]))]
    assert set(compared) == {
        *(f"stat attack.k={k} target.k={other}" for k, other in [(1, 1), (1, 2), (2, 1)]), "nn", "stat by nn",
    }  # fmt: skip


def test_runs_that_no_setting_tells_apart_are_named_by_their_paths(tmp_path: Path) -> None:
    for name in ("a", "b"):
        SweepFolder(tmp_path / name).job(["+attack=stat"], {"stat": 1.0}, noise=ord(name))
    names = {entry.name for entry in page_entries(find_runs([tmp_path]))}
    assert names == {"stat (a/0)", "stat (b/0)"}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("[1, 2]", "the file"),
        ("{", "the file"),
        ('{"dataset": "digits"}', "target: Field required"),
        ('{"dataset": "digits", "target": "ddpm", "metrics": {"auc": "high"}}', "metrics.auc"),
        ('{"dataset": "digits", "target": "ddpm", "metrics": {"auc": NaN}}', "metrics.auc"),
        ('{"dataset": "digits", "target": "ddpm", "ci95": {"auc": [0.1]}}', "ci95.auc"),
    ],
)
def test_a_file_with_other_content_is_refused_in_a_sentence(tmp_path: Path, content: str, place: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match=rf"^results.json can't be read \({place}.*\)\.$"):
        read_results(tmp_path / "results.json")


def test_an_older_file_with_fewer_fields_is_read(tmp_path: Path) -> None:
    job = SweepFolder(tmp_path).job(["+attack=stat"], {"stat": 1.0})
    written = json.loads((job / "results.json").read_text())
    kept = {name: written[name] for name in ("attack", "dataset", "target", "metrics", "ci95")}
    (job / "results.json").write_text(json.dumps(kept))
    (run,) = read_sweep(tmp_path).finished
    assert run.row()["auc"] == written["metrics"]["auc"]
    assert run.results.warnings is None
    close_sweep(tmp_path)


def test_fields_of_later_versions_are_ignored(tmp_path: Path) -> None:
    job = SweepFolder(tmp_path).job(["+attack=stat"], {"stat": 1.0})
    amend(job, schema=2, invented={"auc": "high"})
    assert read_results(job / "results.json").attack == "stat"
