"""Bounds on ε of sweeps are kept, drawn and shown; so are those of simulated mechanisms."""

from pathlib import Path

import pytest

from experiments import drawings, kept, simulated_audits
from experiments.kept import read_rows
from experiments.tables import markdown
from secmi_exp.reporting.table_files import write_csv
from tests.support.page_runs import amend, swept


def test_bounds_of_runs_stand_beside_the_epsilon_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "RESULTS", tmp_path)
    sweep = swept(tmp_path / "sweep", count=2, each=20, shrunk=10).folder
    kept.keep_audits(sweep, "undefended_audit")
    amend(sweep / "1", privacy={"epsilon": 8.25, "delta": 1e-5})
    kept.keep_audits(sweep, "dp_audit")
    first, second = markdown("dp_audit").splitlines()[2:]
    assert first.startswith("| `attack=stat attack.t_sec=10` | ")
    assert first.endswith("| 0.50 | 0.10 | 1.25 | 2.50 | ∞ | 28 of 30 guesses right, of 300 images |")
    assert "| 8.25 | 28 of 30" in second
    drawings.audits("dp_audit", tmp_path / "dp_audit.png")
    assert (tmp_path / "dp_audit.png").is_file()


def test_what_has_no_audit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "RESULTS", tmp_path)
    sweep = swept(tmp_path / "sweep", count=1, each=20, shrunk=10).folder
    amend(sweep / "0", epsilon_lower_bound=None)
    with pytest.raises(ValueError, match="has no bounds of one run"):
        kept.keep_audits(sweep, "dp_audit")


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
