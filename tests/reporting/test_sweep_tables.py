"""A search ends with its jobs by validation AUC, and with the evaluation of the one that this chooses."""

from pathlib import Path

import pytest
from rich.console import Console

from secmi_exp.reporting.run_folders import FinishedRun
from secmi_exp.reporting.sweep_figures import draw_search
from secmi_exp.reporting.sweep_output import close_sweep
from secmi_exp.reporting.sweep_tables import choice, jobs_table, rank_by_validation
from tests.support.sweep_folder import SweepFolder, finished_run


def job(number: int, validation: float, evaluation: float, **given: str) -> FinishedRun:
    found = {"n_member": 51, "n_holdout": 50, "metrics": {"auc": validation}, "ci95": {"auc": [0.5, 1.0]}}
    return finished_run(str(number), given, metrics={"auc": evaluation}, validation=found)


def numbers(jobs: list[FinishedRun]) -> list[str]:
    return [job.shown for job in jobs]


def test_jobs_are_ranked_by_validation_in_the_direction_of_the_search_and_equals_by_number() -> None:
    jobs = [job(0, 0.7, 0.9), job(1, 0.8, 0.6), job(2, 0.7, 0.95), job(3, 0.6, 0.5)]
    assert numbers(rank_by_validation(jobs, "maximize")) == ["1", "0", "2", "3"]
    assert numbers(rank_by_validation(jobs, "minimize")) == ["3", "0", "2", "1"]


def test_the_choice_is_told_with_what_it_was_made_on_and_its_own_evaluation() -> None:
    ranked = rank_by_validation([job(0, 0.7, 0.9, t="10", seed="0"), job(1, 0.8, 0.6, t="20", seed="0")], "maximize")
    assert choice(ranked) == (
        "Best on attack-train images: job 1 (t=20): validation AUC 0.800 [0.500, 1.000] over 51 members and "
        "50 hold-outs; on the evaluation part AUC 0.600."
    )


def test_a_narrow_terminal_folds_cells_and_loses_none(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [
        job(number, 0.7, 0.9, **{"attack.long_setting": f"{number}_value", "seed": str(number)}) for number in (0, 1)
    ]
    Console(width=76).print(jobs_table(jobs))
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "1_value" in printed


@pytest.mark.usefixtures("unrendered")
def test_a_closed_search_ranks_nothing_by_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = SweepFolder(tmp_path)
    for t, shift in (("10", 0.2), ("20", 2.0), ("20", 2.0), ("30", 1.0)):  # a search may try the same twice
        sweep.job(["+attack=stat", f"attack.t={t}"], {"stat": shift})
    sweep.target_only([])
    close_sweep(tmp_path, "maximize")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("│")] == ["1", "2", "3", "0"]
    assert any(line.startswith("Best on attack-train images: job 1 (attack.t=20): ") for line in lines)
    assert lines[-1] == str(tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "summary.csv",
        "summary.parquet",
        "sweep.png",
    }


@pytest.mark.parametrize("values", [["0.0001", "0.001", "0.1"], ["l2", "$none$", "l2"]])
def test_settings_of_any_kind_are_drawn_and_repeated_ones_too(tmp_path: Path, values: list[str]) -> None:
    jobs = [job(number, 0.6, 0.6, first=value, second=str(number)) for number, value in enumerate(values)]
    assert draw_search(tmp_path / "search.png", jobs)
    assert not draw_search(tmp_path / "none.png", [job(0, 0.6, 0.6, t="1"), job(1, 0.6, 0.6, t="1")])
    assert [path.name for path in tmp_path.iterdir()] == ["search.png"]
