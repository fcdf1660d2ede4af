"""A sweep over attacks ends with one comparison."""

import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from rich.console import Console

from secmi_exp.evaluation.comparison import compare
from secmi_exp.evaluation.delong import auc_interval, paired_test
from secmi_exp.evaluation.repeated_runs import repeated_runs
from secmi_exp.evaluation.roc import Roc
from secmi_exp.reporting import ranking_figures, sweep_callback
from secmi_exp.reporting.contests import Contest, find_contests
from secmi_exp.reporting.entries import read_entries
from secmi_exp.reporting.ranking import MOST_PAIRED, rank
from secmi_exp.reporting.run_folders import read_sweep
from secmi_exp.reporting.sweep_output import close_sweep
from secmi_exp.reporting.sweep_tables import ranking_table
from tests.support.sweep_folder import ROUNDS, SweepFolder
from tests.support.wandb_file import WANDB, all_records, artifacts, logged_names

ATTACKS = {"stat": (1.2, 11), "nn": (2.2, 11), "pia": (1.0, 2), "blind": (0.1, 0)}
"""Name → distance of members from hold-outs, queries."""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contests(folder: Path) -> list[Contest]:
    return find_contests(read_entries(read_sweep(folder).finished))


def evaluation_part(job: Path, scorer: str) -> tuple[np.ndarray, np.ndarray]:
    table = pa.parquet.read_table(job / "scores.parquet")
    judged = np.array(table["part"].to_pylist()) == "evaluation"
    return table[f"score_{scorer}"].to_numpy()[judged], table["is_member"].to_numpy()[judged]


def columns(row: Mapping[str, str], name: str) -> list[float]:
    return [float(row[column]) for column in (name, f"{name}_low", f"{name}_high")]


@pytest.fixture(autouse=True)
def quick_figures(request: pytest.FixtureRequest) -> None:
    """Figures are rendered for the tests that look at them."""
    if "saved" not in request.fixturenames:
        request.getfixturevalue("unrendered")


@pytest.fixture
def attacks(tmp_path: Path) -> SweepFolder:
    """Four attacks on the same samples, of which nn's job reports stat too."""
    folder = SweepFolder(tmp_path / "sweep")
    for name, (shift, queries) in ATTACKS.items():
        shifts = {"nn": shift, "stat": ATTACKS["stat"][0]} if name == "nn" else {name: shift}
        folder.job([f"+attack={name}", "trainer=cpu"], shifts, queries=queries)
    return folder


def test_numbers_are_those_of_the_evaluation(attacks: SweepFolder) -> None:
    close_sweep(attacks.folder)
    found = rows(attacks.folder / "comparison.csv")
    scores = {name: evaluation_part(attacks.folder / str(job), name)[0] for job, name in enumerate(ATTACKS)}
    _, is_member = evaluation_part(attacks.folder / "0", "stat")
    assert sorted(row["attack"] for row in found) == sorted(ATTACKS)
    aucs = [float(row["auc"]) for row in found]
    assert aucs == sorted(aucs, reverse=True)
    names = [row["attack"] for row in found]
    expected = compare({name: scores[name] for name in names}, is_member, rounds=ROUNDS, seed=0)
    for place, row in enumerate(found):
        each = scores[row["attack"]]
        assert columns(row, "auc") == pytest.approx(
            [Roc.from_scores(each, is_member).auc, *auc_interval(each, is_member)]
        )
        assert int(row["queries_per_sample"]) == ATTACKS[row["attack"]][1]
        assert (row["seconds"], row["runs"], row["target"]) == ("1.5", "1", "ddpm:a")
        results = json.loads((attacks.folder / row["job"] / "results.json").read_text())
        for metric in ("asr", "tpr_at_1pct_fpr", "accuracy_calibrated"):
            assert columns(row, metric) == [results["metrics"][metric], *results["ci95"][metric]]
        assert row["tpr_at_0.1pct_fpr"] == ""
        assert "needs at least 1,000 hold-outs" in row["not_resolved"]
        if place == 0:
            assert row["p_holm"] == row["auc_difference"] == ""
            continue
        test = paired_test(each, scores[names[0]], is_member)
        assert float(row["p_value"]) == pytest.approx(test.p_value)
        assert float(row["p_holm"]) == pytest.approx(expected.p_adjusted[place, 0])
        interval = expected.ci95["auc"][place, 0]
        assert columns(row, "auc_difference") == pytest.approx([test.difference, *interval])
    pairs = rows(attacks.folder / "comparison_pairs.csv")
    assert len(pairs) == 6
    for pair in pairs:
        first, second = names.index(pair["first"]), names.index(pair["second"])
        assert first < second
        assert float(pair["p_holm"]) == pytest.approx(expected.p_adjusted[first, second])
        for metric in ("auc", "asr", "tpr_at_1pct_fpr"):
            difference = [expected.differences[metric][first, second], *expected.ci95[metric][first, second]]
            assert columns(pair, f"{metric}_difference") == pytest.approx(difference)


def test_parquet_holds_the_same_as_numbers(attacks: SweepFolder) -> None:
    close_sweep(attacks.folder)
    table = pa.parquet.read_table(attacks.folder / "comparison.parquet")
    assert table.column_names == list(rows(attacks.folder / "comparison.csv")[0])
    assert pa.types.is_floating(table.schema.field("tpr_at_0.1pct_fpr").type)
    assert table["p_holm"].to_pylist()[0] is None


def test_terminal_shows_one_table_and_ends_with_the_directory(
    attacks: SweepFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    close_sweep(attacks.folder)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "4 attacks compared"
    order = [line.split()[0] for line in lines if line.split() and line.split()[0] in ATTACKS]
    assert order == ["nn", "stat", "pia", "blind"]
    assert "best" in next(line for line in lines if line.startswith(" nn "))
    assert "Holm-adjusted for 6 pairs" in " ".join(" ".join(lines).split())
    assert lines[-1] == str(attacks.folder)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("seeds", [1, 3])
def test_no_width_cuts_a_name_or_a_number(tmp_path: Path, width: int, seeds: int) -> None:
    folder = SweepFolder(tmp_path)
    for seed in range(seeds):
        for name, (shift, queries) in ATTACKS.items():
            overrides = [f"+attack={name}", "attack.t_sec=100"] + ([f"seed={seed}"] if seeds > 1 else [])
            folder.job(overrides, {name: shift}, queries=queries * 1000, samples=seed)
        folder.job(["+attack=stat", "attack.t_sec=50"] + [f"seed={seed}"] * (seeds > 1), {"stat": 0.6}, samples=seed)
    ranking = rank(*contests(tmp_path))
    console = Console(width=width)
    with console.capture() as capture:
        console.print(ranking_table(ranking, console))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert "…" not in " ".join(words)
    for standing in ranking.standings:
        assert set(standing.name.split()) <= set(words)
        assert f"{standing.auc.value:.3f} [{standing.auc.low:.3f}, {standing.auc.high:.3f}]" in " ".join(words)
    if width >= 80:
        assert {"queries", "11000"} <= set(words)


def test_labels_show_what_differs_as_plain_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folder = SweepFolder(tmp_path)
    tricky = ["[red]x[/red]", "<b>&y</b>", "$a_b$ :smile:"]
    for noise, value in enumerate(tricky):
        folder.job(["+attack=stat", f"attack.note={value}", "seed=0"], {"stat": 1.0}, noise=noise)
    close_sweep(tmp_path)
    assert {row["attack"] for row in rows(tmp_path / "comparison.csv")} == {f"stat note={value}" for value in tricky}
    shown = capsys.readouterr().out
    assert all(f"note={value}" in shown for value in tricky)


def test_settings_are_named_in_full_where_their_last_part_is_ambiguous(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for noise, (one, other) in enumerate([(1, 1), (1, 2), (2, 1)]):
        folder.job(["+attack=stat", f"attack.k={one}", f"target.k={other}"], {"stat": 1.0}, noise=noise)
    (contest,) = contests(tmp_path)
    assert [each.name for each in contest.contenders] == [
        f"stat attack.k={one} target.k={other}" for one, other in [(1, 1), (1, 2), (2, 1)]
    ]


def test_a_further_scorer_stands_once_and_by_itself_if_no_job_leads_with_it(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for noise, epochs in enumerate((5, 10)):
        job = folder.job(["+attack=nn", f"attack.scorers.nn.epochs={epochs}"], {"nn": 2.0, "stat": 1.0}, noise=noise)
        if noise:  # the same t-errors
            first, table = (pa.parquet.read_table(each / "scores.parquet") for each in (tmp_path / "0", job))
            place = table.column_names.index("score_stat")
            pa.parquet.write_table(table.set_column(place, "score_stat", first["score_stat"]), job / "scores.parquet")
    (contest,) = contests(tmp_path)
    assert [each.name for each in contest.contenders] == ["nn epochs=5", "nn epochs=10", "stat"]


def test_runs_that_differ_in_their_seed_are_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = SweepFolder(tmp_path)
    for seed in range(3):
        for name in ("stat", "nn"):
            if (name, seed) == ("nn", 2):
                folder.failed([f"+attack={name}", f"seed={seed}"])
            else:
                folder.job([f"+attack={name}", f"seed={seed}"], {name: ATTACKS[name][0]}, samples=seed)
    close_sweep(tmp_path)
    aucs = {
        (name, seed): Roc.from_scores(*evaluation_part(tmp_path / str(2 * seed + place), name)).auc
        for seed in range(3)
        for place, name in enumerate(("stat", "nn"))
        if (name, seed) != ("nn", 2)
    }
    best, other = rows(tmp_path / "comparison.csv")
    assert [(row["attack"], row["runs"], row["job"]) for row in (best, other)] == [
        ("nn", "2", "1 3"),
        ("stat", "3", "0 2 4"),
    ]
    for row in (best, other):
        expected = repeated_runs([auc for (name, _), auc in aucs.items() if name == row["attack"]])
        assert expected.ci95
        assert columns(row, "auc") == pytest.approx([expected.mean, *expected.ci95])
        assert float(row["auc_deviation"]) == pytest.approx(expected.deviation)
        assert row["p_value"] == ""
    paired = repeated_runs([aucs["stat", seed] - aucs["nn", seed] for seed in range(2)])
    assert paired.ci95
    assert columns(other, "auc_difference") == pytest.approx([paired.mean, *paired.ci95])
    (pair,) = rows(tmp_path / "comparison_pairs.csv")
    assert (pair["first"], pair["second"], pair["runs"]) == ("nn", "stat", "2")
    assert (tmp_path / "comparison_roc.png").is_file()
    assert "Mean over runs" in capsys.readouterr().out


def test_one_attack_over_seeds_is_summed_up_without_pairs(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for seed in range(2):
        folder.job(["+attack=stat", f"seed={seed}"], {"stat": 1.0}, samples=seed)
    close_sweep(tmp_path)
    (row,) = rows(tmp_path / "comparison.csv")
    assert (row["attack"], row["runs"]) == ("stat", "2")
    assert not (tmp_path / "comparison_pairs.csv").exists()


def test_other_datasets_are_contests_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = SweepFolder(tmp_path)
    for dataset in ("digits", "lfw"):
        for name in ("stat", "nn"):
            folder.job([f"+attack={name}", f"dataset={dataset}"], {name: 1.0}, dataset=dataset)
    close_sweep(tmp_path)
    found = [(row["contest"], row["attack"]) for row in rows(tmp_path / "comparison.csv")]
    assert sorted(found) == [(f"dataset={name}", attack) for name in ("digits", "lfw") for attack in ("nn", "stat")]
    assert {path.name for path in tmp_path.glob("comparison*.png")} == {
        f"comparison_{name}_{number}.png" for name in ("roc", "cost") for number in (1, 2)
    }
    assert "compared: dataset=lfw" in capsys.readouterr().out


def test_a_sweep_over_the_number_of_members_is_not_averaged(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for samples, members in enumerate((64, 128)):
        folder.job(["+attack=stat", f"split.members={members}"], {"stat": 1.0}, samples=samples)
    assert contests(tmp_path) == []


def test_other_targets_are_compared_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = SweepFolder(tmp_path)
    for steps in (100, 200):
        folder.job(["+attack=stat", f"target.max_steps={steps}"], {"stat": steps / 100}, target=f"/store/{steps}")
    close_sweep(tmp_path)
    assert {row["target"] for row in rows(tmp_path / "comparison.csv")} == {"ddpm:100", "ddpm:200"}
    assert "attacked 2 different targets" in " ".join(capsys.readouterr().out.split())


def test_jobs_without_scores_and_failed_ones_are_left_out(
    attacks: SweepFolder, caplog: pytest.LogCaptureFixture
) -> None:
    attacks.target_only(["trainer=gpu"])
    attacks.failed(["+attack=sima"])
    damaged, torn = (attacks.job([f"+attack={name}"], {name: 1.0}) for name in ("loss", "pian"))
    (damaged / "scores.parquet").write_bytes(b"PAR1")
    (torn / "results.json").write_text("{")
    close_sweep(attacks.folder)
    assert sorted(row["attack"] for row in rows(attacks.folder / "comparison.csv")) == sorted(ATTACKS)
    assert [row["job"] for row in rows(attacks.folder / "summary.csv")] == ["0", "1", "2", "3", "4", "6"]
    assert "Job 6 is not compared" in caplog.text
    assert "Job 7 is left out" in caplog.text


def test_a_sweep_of_targets_ends_with_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = SweepFolder(tmp_path)
    for steps in (100, 200):
        folder.target_only([f"target.max_steps={steps}"])
    close_sweep(tmp_path)
    assert "2 jobs" in capsys.readouterr().out
    assert not list(tmp_path.glob("comparison*"))


def test_more_attacks_than_can_be_told_apart_end_with_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = SweepFolder(tmp_path, each=10)
    for t in range(MOST_PAIRED + 1):
        folder.job(["+attack=stat", f"attack.t_sec={t}"], {"stat": 1.0}, noise=t)
    close_sweep(tmp_path)
    assert "61 jobs" in capsys.readouterr().out
    assert "at most 60" in caplog.text


def test_roc_legend_is_sorted_and_its_lines_differ(attacks: SweepFolder, saved: list[Figure]) -> None:
    for place in range(12):
        attacks.job([f"+attack=a{place}"], {f"a{place}": place / 10}, queries=place)
    ranking_figures.draw_ranking_roc(attacks.folder / "roc.png", rank(*contests(attacks.folder)))
    (axes,) = saved[0].axes
    legend = axes.get_legend()
    assert legend
    aucs = [float(text.get_text().split()[0]) for text in legend.get_texts()]
    assert len(aucs) == 17
    assert aucs[:-1] == sorted(aucs[:-1], reverse=True)
    assert len({(line.get_color(), str(line.get_linestyle()), line.get_linewidth()) for line in axes.lines}) >= 15


def test_labels_of_the_cost_figure_are_apart_and_inside(tmp_path: Path, saved: list[Figure]) -> None:
    folder = SweepFolder(tmp_path)
    for place in range(15):
        folder.job(
            [f"+attack=attack_{place}"], {f"attack_{place}": 0.6 + place / 12}, queries=(0, 1, 2, 11, 11)[place % 5]
        )
    ranking_figures.draw_ranking_cost(tmp_path / "cost.png", rank(*contests(tmp_path)).rows(), "", "")
    saved[0].canvas.draw()
    (axes,) = saved[0].axes
    assert "0" in [text.get_text() for text in axes.get_xticklabels()]
    boxes = [Text.get_window_extent(text) for text in axes.texts if text.get_text().startswith("attack_")]
    assert len(boxes) == 15
    inside = axes.get_window_extent().padded(2)
    for place, box in enumerate(boxes):
        assert inside.contains(box.x0, box.y0)
        assert inside.contains(box.x1, box.y1)
        assert not any(Bbox.intersection(box, other) for other in boxes[:place])


def test_wandb_gets_table_and_figures_in_the_sweeps_group(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep", logger=WANDB)
    for name in ("stat", "nn"):
        folder.job([f"+attack={name}"], {name: 1.0})
    close_sweep(folder.folder)
    written = all_records(folder.folder)
    (run,) = [record.run for record in written if record.run.run_id]
    assert (run.run_group, run.job_type, list(run.tags)) == ("sweep", "comparison", ["t"])
    assert logged_names(written) >= {"comparison", "figures/comparison_roc", "figures/comparison_cost"}
    used = {name: artifact.use_after_commit for name, artifact in artifacts(written).items()}
    assert used == {"digits-ddpm-stat": True, "digits-ddpm-nn": True, "comparison": False}


def test_a_failure_of_wandb_costs_the_upload_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = SweepFolder(tmp_path, logger={**WANDB, "mode": "nonsense"})
    for name in ("stat", "nn"):
        folder.job([f"+attack={name}"], {name: 1.0})
    close_sweep(tmp_path)
    assert caplog.text.count("Tracking has failed at its start") == 1
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path)


def test_the_command_starts_without_what_only_a_sweeps_end_needs() -> None:
    heavy = ("torch", "scipy", "sklearn", "matplotlib", "pyarrow", "numpy", "wandb")
    code = f"import sys, {sweep_callback.__name__}; print([name for name in {heavy} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
