"""Bounds on ε of several runs are kept, drawn and shown; so are those of simulated mechanisms."""

from pathlib import Path

import pytest

from experiments import dp_audit, simulated_audits
from experiments.kept import read_rows
from secmi_exp.reporting.table_files import write_csv
from tests.support.page_runs import amend, swept


def test_bounds_of_runs_stand_beside_the_epsilon_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = swept(tmp_path / "sweep", count=2, each=20).folder
    amend(sweep / "1", privacy={"epsilon": 8.25, "delta": 1e-5})
    monkeypatch.setattr(dp_audit, "TABLE", tmp_path / "dp_audit.csv")
    monkeypatch.setattr(dp_audit, "FIGURE", tmp_path / "dp_audit.png")
    monkeypatch.setattr("sys.argv", ["dp_audit", str(sweep)])
    for _ in range(2):  # the same settings again take the place of the former
        dp_audit.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].endswith("| 0.50 | 0.10 | 1.25 | 2.50 | ∞ | 28 of 30 guesses right, of 300 images |")
    assert "| 8.25 | 28 of 30" in printed[3]
    assert len(read_rows(tmp_path / "dp_audit.csv")) == 2
    assert (tmp_path / "dp_audit.png").is_file()


def test_simulated_mechanisms_are_drawn_with_their_true_epsilon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_audits, "MUS", (1.0, 3.0))
    write_csv(tmp_path / "table.csv", simulated_audits.rows(runs=2))
    first, second = read_rows(tmp_path / "table.csv")
    assert float(first["epsilon"]) == pytest.approx(4.377, abs=1e-3)
    assert float(second["gaussian"]) > float(second["abstaining"]) > float(first["abstaining"])
    simulated_audits.draw([first, second], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").is_file()
