"""The view at Weights & Biases is built without network, and shows what runs really log."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from omegaconf import OmegaConf

from experiments.dashboard import main, sections
from secmi_exp.reporting.sweep_output import close_sweep
from secmi_exp.tracking import wandb_settings
from tests.support.commands import CONF, SmokeRun
from tests.support.sweep_folder import SweepFolder
from tests.support.wandb_file import WANDB, all_records, logged_names, summarized_names


def shown_names(panel: Any) -> Iterator[str]:
    """Metrics, tables and media that a panel refers to."""
    for names in ("metrics", "y", "media_keys"):
        yield from getattr(panel, names, [])
    yield from [panel.x] if hasattr(panel, "x") else []
    yield from [panel.table_name] if hasattr(panel, "table_name") else []
    yield from [panel.query["summaryTable"]["tableKey"]] if hasattr(panel, "query") else []


def judged_names(run: Path) -> set[str]:
    """Scorer/metric, those too that too few hold-outs left unresolved, and the same of all other attacks."""
    (table,) = run.glob("wandb/offline-run-*/files/media/table/metrics_*.table.json")
    metrics = {metric for _, metric, *_ in json.loads(table.read_text())["data"]}
    scorers = {name for path in (CONF / "attack").glob("*.yaml") for name in OmegaConf.load(path).scorers}
    return {f"{scorer}/{metric}" for scorer in (*scorers, "attack") for metric in metrics}


@pytest.mark.slow
def test_every_panel_shows_what_runs_log(smoke: SmokeRun, tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "sweep", logger=WANDB)
    for name in ("stat", "nn"):
        sweep.job([f"+attack={name}"], {name: 1.0})
    close_sweep(sweep.folder)
    attack, comparison = all_records(smoke.finished.folder), all_records(sweep.folder)
    logged = logged_names(attack) | summarized_names(attack) | logged_names(comparison)
    logged |= judged_names(smoke.finished.folder)
    for section in sections():
        for panel in section.panels:
            shown = set(shown_names(panel))
            assert shown
            assert shown <= logged


def test_the_view_is_of_one_sweep_where_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    main(["p", "--entity", "e", "--group", "sweep", "--print"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["entity"], printed["project"], printed["displayName"]) == ("e", "p", "Attacks of sweep")
    (runs,) = printed["spec"]["section"]["runSets"]
    (condition,) = runs["filters"]["filters"]
    assert (condition["key"]["name"], condition["op"], condition["value"]) == ("group", "=", "sweep")
    assert [group["name"] for group in runs["grouping"]] == ["jobType"]
    main(["p", "--print"])
    (runs,) = json.loads(capsys.readouterr().out)["spec"]["section"]["runSets"]
    assert [group["name"] for group in runs["grouping"]] == ["group", "jobType"]


def mistake(*arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(["p", *arguments])
    assert end.value.code == 1


def test_without_credentials_the_view_is_printed_and_the_reason_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_settings, "has_credentials", lambda: False)
    mistake()
    printed = capsys.readouterr()
    assert json.loads(printed.out)["project"] == "p"
    assert printed.err.count("\n") == 1
    assert "wandb login" in printed.err


def test_a_server_that_cannot_be_reached_is_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> None:
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(wandb_settings, "has_credentials", lambda: True)
    monkeypatch.setattr(wandb, "Api", unreachable)
    mistake()
    assert "can't be saved at Weights & Biases (no route to host): check" in capsys.readouterr().err


def test_the_package_that_is_missing_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    mistake("--print")
    assert "pip install wandb-workspaces" in capsys.readouterr().err
