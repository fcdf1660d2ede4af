"""Names are drawn and printed as they are, on any machine, and what is only shown costs no results."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console

from secmi_exp.evaluation.judge import Judgement, Validation
from secmi_exp.evaluation.scored import Scored
from secmi_exp.files.strict_json import Json
from secmi_exp.reporting import run_figures
from secmi_exp.reporting.run_folders import FinishedRun
from secmi_exp.reporting.run_output import print_metrics
from secmi_exp.reporting.run_results import RunResults
from secmi_exp.reporting.sweep_figures import draw_search, draw_sweep, draw_tradeoff
from secmi_exp.reporting.sweep_output import close_sweep
from secmi_exp.reporting.terminal import FILE_WIDTH, terminal
from secmi_exp.testing import run
from tests.support.commands import REPOSITORY
from tests.support.sweep_folder import SweepFolder, finished_run

NAME = r"$\frac{a_$ [/b] [red] :bug: 50%"
"""A formula that can't be read, a tag that closes nothing, a colour, and an emoji."""
RUN = ["target=memorizing", "+attack=blind", "split.members=24", "split.holdouts=24", "evaluation.bootstrap_rounds=20"]


def texts(figure: Figure) -> set[str]:
    return {found.get_text() for found in figure.findobj(Text)}


def test_a_run_whose_names_are_markup_ends_like_any_other(
    tmp_path: Path, saved: list[Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path, *RUN, f"dataset.name='{NAME}'")
    assert json.loads((folder / "results.json").read_text())["dataset"] == NAME
    assert {path.stem for path in folder.glob("*.png")} == {"roc", "roc_log", "scores", "exposed"}
    assert any(text.startswith("ROC: ") and NAME in text for text in texts(saved[0]))
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == str(folder)
    assert f"{NAME}:" in " ".join(printed.split())


def test_figures_that_fail_are_lines_of_the_log_and_the_results_are_there_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Figure, path: Path, **more: object) -> None:
        assert (path.parent / "results.json").is_file()
        assert (path.parent / "scores.parquet").is_file()
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    folder = run(tmp_path, *RUN)
    assert not [*folder.glob("*.png")]
    for name in ("roc", "roc_log", "scores", "exposed"):
        assert f"{folder / name}.png is not drawn (OSError: [Errno 28] No space left on device)" in caplog.text


def job(number: int, auc: float, setting: str) -> FinishedRun:
    quality = {"metrics": {"denoising_loss": 1 - auc}, "ci95": {"denoising_loss": None}}
    found = {"metrics": {"auc": auc, "asr": auc}, "ci95": {"auc": [auc - 0.1, auc + 0.1], "asr": None}}
    samples = {"n_member": 9, "n_holdout": 9}
    overrides = {"dataset.name": setting, "$k_{$": str(number)}
    return finished_run(str(number), overrides, **found, validation={**found, **samples}, quality=quality)


def test_settings_of_a_sweep_are_drawn_as_they_are(tmp_path: Path, saved: list[Figure]) -> None:
    jobs = [job(0, 0.6, NAME), job(1, 0.7, "$x$"), job(2, 0.8, "_hidden")]
    rows = [each.row() for each in jobs]
    assert draw_sweep(tmp_path / "a.png", rows, ["dataset.name"])
    assert draw_sweep(tmp_path / "b.png", rows, ["$k_{$"])
    assert draw_sweep(tmp_path / "c.png", rows, ["dataset.name", "$k_{$"])
    assert draw_search(tmp_path / "d.png", jobs)
    assert draw_tradeoff(tmp_path / "e.png", rows, ["dataset.name"])
    names, axis, both, searched, traded = map(texts, saved)
    assert names >= {NAME, "$x$", "_hidden"}
    assert "$k_{$" in axis
    assert both >= {NAME, "$x$", "$k_{$"}
    assert searched >= {NAME, "$x$", "$k_{$"}
    assert traded >= {NAME, "$x$", "_hidden"}
    assert len([*tmp_path.glob("*.png")]) == 5


def test_a_sweep_over_names_that_are_markup_ends_with_its_table_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SweepFolder(tmp_path, each=20)
    for t, dataset in enumerate((NAME, "$y_$")):
        folder.job(["+attack=stat", f"dataset.name={dataset}"], {"[/i] $z_$": 1.0}, dataset=dataset, noise=t)
    folder.job(["+attack=stat", f"dataset.name={NAME}", "seed=1"], {"[/i] $z_$": 1.0}, dataset=NAME, noise=3)
    close_sweep(tmp_path)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path)
    assert [*tmp_path.glob("*.png")]


def test_logarithmic_axes_have_numbers_instead_of_formulas(tmp_path: Path, saved: list[Figure]) -> None:
    rows = [job(number, 0.6, setting).row() for number, setting in enumerate(("1", "30", "1000"))]
    assert draw_sweep(tmp_path / "a.png", rows, ["dataset.name"])
    saved[0].canvas.draw()
    labels = {label.get_text() for label in saved[0].axes[0].get_xticklabels()}
    assert labels >= {"1", "10", "100", "1000"}
    assert not any("$" in each for each in texts(saved[0]))


def test_a_table_is_printed_as_it_is_on_any_console(capsys: pytest.CaptureFixture[str]) -> None:
    judged = Judgement(3, 3, {"auc": 0.5}, {"auc": (0.4, 0.6)}, Validation(3, 3, 0.5, (0.4, 0.6)))
    header: dict[str, Json] = {"attack": "[/i]", "target": NAME, "dataset": ":bug:", "queries_per_sample": 1}
    print_metrics(RunResults(header, {"[/b]": judged}, {}), Console(width=200, emoji=False))
    printed = " ".join(capsys.readouterr().out.split())
    assert f"[/i] on {NAME}, :bug:: 3 members" in printed
    assert "0.500 [0.400, 0.600]" in printed
    assert "[/b]" in printed


def test_the_scorer_with_the_highest_auc_comes_first_and_the_table_says_what_was_fitted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    judged = {
        name: Judgement(3, 3, {"auc": auc}, {"auc": (0.1, 0.9)}, Validation(3, 3, 0.5, (0.4, 0.6)))
        for name, auc in {"nn": 0.5, "stat": 0.7, "other": 0.6}.items()
    }
    header: dict[str, Json] = {"attack": "nn", "target": "t", "dataset": "d", "queries_per_sample": 1}
    print_metrics(RunResults(header, judged, {}, {"nn": {"summary": "a network of three."}}), Console(width=200))
    printed = capsys.readouterr().out
    assert printed.index("stat") < printed.index("nn", printed.index("interval")) < printed.index("other")
    assert "stat has the highest AUC: scores.png and exposed.png show its scores." in printed
    assert "nn: a network of three." in printed


def test_what_the_terminals_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    terminal().print("ε – \udcff [b] :bug:", soft_wrap=True)
    sys.stdout.flush()
    assert written.getvalue() == rb"\u03b5 \u2013 \udcff [b] :bug:" + b"\n"


def test_without_a_terminal_lines_are_wide_unless_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: False)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal().width == FILE_WIDTH
    monkeypatch.setenv("COLUMNS", "90")
    assert terminal().width == 90


@pytest.mark.parametrize(
    "backend", [pytest.param("module://matplotlib_inline.backend_inline", marks=pytest.mark.slow), "no_such_backend"]
)
def test_the_backend_of_whatever_started_the_process_does_not_matter(backend: str) -> None:
    modules = ("run_figures", "sweep_figures", "ranking_figures")
    code = f"import sys, {', '.join(f'secmi_exp.reporting.{name}' for name in modules)}\nprint(*sys.modules)"
    environment = {"MPLBACKEND": backend, "PYTHONPATH": str(REPOSITORY)}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "matplotlib.figure" in finished.stdout.split()
    assert "matplotlib.pyplot" not in finished.stdout.split()


def test_a_kernel_that_imports_the_package_keeps_its_own_backend() -> None:
    code = "import sys; sys.modules['ipykernel'] = sys; import os, secmi_exp; print(os.environ['MPLBACKEND'])"
    environment = {"MPLBACKEND": "inline", "PYTHONPATH": str(REPOSITORY)}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "inline"


def test_a_name_that_is_no_text_costs_its_figure_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scored = Scored(np.arange(8.0), np.arange(8) % 2 == 0)
    assert not run_figures.draw_roc(tmp_path / "roc.png", {"stat": scored}, "\udcff", logarithmic=False)
    assert f"{tmp_path / 'roc.png'} is not drawn" in caplog.text
