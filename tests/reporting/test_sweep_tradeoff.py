"""Leak against quality, where a sweep measured both."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from secmi_exp.reporting.sweep_figures import draw_tradeoff
from secmi_exp.reporting.sweep_tables import tradeoff_table
from secmi_exp.reporting.table_files import TableRow
from tests.support.sweep_folder import finished_run


def job(defense: str, auc: float | None, loss: float | None, epsilon: float | None = None) -> TableRow:
    quality = (
        {} if loss is None else {"metrics": {"denoising_loss": loss}, "ci95": {"denoising_loss": [loss, loss + 1]}}
    )
    results: dict[str, object] = {
        "metrics": {} if auc is None else {"auc": auc}, "ci95": {"auc": [0.1, 0.9]}, "quality": quality,
        "privacy": {"epsilon": epsilon} if epsilon else None, "epsilon_lower_bound": {"epsilon": 0.5},
    }  # fmt: skip
    return finished_run(defense, {"defense": defense}, **results).row()


ROWS = [job("none", 0.9, 0.2), job("dp_sgd", 0.5, 0.7, epsilon=8.0), job("l2", None, 0.3), job("hflip", 0.7, None)]


def test_jobs_with_both_are_drawn_under_their_settings(tmp_path: Path, saved: list[Figure]) -> None:
    assert draw_tradeoff(tmp_path / "f.png", ROWS, ["defense"])
    (axes,) = saved[0].axes
    assert [text.get_text() for text in axes.texts] == ["none", "dp_sgd"]
    points = [tuple(line.get_xydata()[0].tolist()) for line in axes.lines if line.get_marker() == "o"]  # type: ignore[index]
    assert points == [(0.2, 0.9), (0.7, 0.5)]


def test_without_a_measured_quality_there_is_neither_figure_nor_table(tmp_path: Path) -> None:
    assert not draw_tradeoff(tmp_path / "f.png", [ROWS[3], ROWS[3]], ["defense"])
    assert tradeoff_table([ROWS[3]], ["defense"]) is None
    assert not [*tmp_path.iterdir()]


def test_the_table_has_leak_quality_and_the_privacy_spent(capsys: pytest.CaptureFixture[str]) -> None:
    table = tradeoff_table(ROWS, ["defense"])
    assert table
    Console(width=140).print(table)
    printed = capsys.readouterr().out
    assert "0.200 [0.200, 1.200]" in printed
    assert "epsilon spent" in printed
    assert "8.000" in printed
    assert "fid" not in printed


def test_a_narrow_terminal_folds_cells_and_loses_none(capsys: pytest.CaptureFixture[str]) -> None:
    table = tradeoff_table(ROWS, ["defense"])
    assert table
    Console(width=64).print(table)
    printed = capsys.readouterr().out
    assert "…" not in printed
    for text in ("defense", "dp_sgd", "none", "0.100,", "8.000"):
        assert text in printed
