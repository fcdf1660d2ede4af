"""The report page as HTML: what it says of runs, of failures, and of hostile or damaged files."""

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secmi_exp
from secmi_exp.errors import UserError
from secmi_exp.evaluation.roc import Roc
from secmi_exp.report import main, write_report
from secmi_exp.reporting.drawing import COLOURS
from secmi_exp.reporting.page.images import Album
from secmi_exp.reporting.page.render import environment, page_entries, render_page
from secmi_exp.reporting.page.roc_curves import MOST_POINTS, thinned
from secmi_exp.reporting.run_folders import find_runs
from tests.support.page_runs import WARNED, amend, configure, swept
from tests.support.sweep_folder import SweepFolder

HOSTILE = "</script><!--<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Read(HTMLParser):
    """Text by the section that it stands in, and all tags with their attributes."""

    def __init__(self, content: str):
        super().__init__()
        self.text: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.section = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.section = dict(attrs)["id"] or ""

    def handle_data(self, data: str) -> None:
        self.text[self.section] = self.text.get(self.section, "") + data

    def words(self, section: str) -> str:
        """The section's text with single spaces."""
        return " ".join(self.text[section].split())


def read(*folders: Path) -> Read:
    return Read(render_page(find_runs(folders)))


@pytest.mark.slow
def test_quality_and_privacy_stand_beside_the_leak_where_they_were_measured(tmp_path: Path) -> None:
    sweep = swept(tmp_path / "sweep")
    assert "quality" not in read(sweep.folder).text
    measured = {
        "metrics": {"denoising_loss": 0.123456, "fid": 7.0},
        "ci95": {"denoising_loss": [0.1, 0.2], "fid": None},
    }
    amend(sweep.folder / "1", quality=measured, privacy={"epsilon": 8.25, "delta": 1e-5})
    table = read(sweep.folder).words("quality")
    assert "stat t_sec=20" in table
    assert "stat t_sec=10" not in table
    assert "0.1235 [0.1, 0.2] 7" in table
    assert "8.25 0.50" in table
    assert "kernel distance" not in table


def test_the_page_names_its_own_version_and_those_of_its_runs(tmp_path: Path) -> None:
    sweep = swept(tmp_path / "sweep")
    amend(sweep.folder / "1", versions={"secmi_exp": "0.0.7"})
    text = read(sweep.folder).text
    assert "0.0.7" in text["provenance"]
    assert f"Made by secmi_exp {secmi_exp.__version__}" in " ".join(text.values())


def test_a_sweep_is_compared_by_auc_with_intervals_bounds_and_costs(tmp_path: Path) -> None:
    found = read(swept(tmp_path / "sweep").folder)
    text, table = found.text, found.words("comparison")
    assert table.index("stat t_sec=30") < table.index("stat t_sec=20") < table.index("stat t_sec=10")
    best = json.loads((tmp_path / "sweep/2/results.json").read_text())
    low, high = best["ci95"]["auc"]
    assert f"{best['metrics']['auc']:.3f} [{low:.3f}, {high:.3f}]" in table
    assert "0.50 one run: 0.10" in table
    bounds = found.words("privacy-bounds")
    assert "0.50 0.10 1.25 2.50 ∞ 28 of 30 guesses right, of 300 images" in bounds
    assert "The members are a random half of fixed size" in bounds
    assert "attack.t_sec" in text["configurations"]
    assert "dataset.name" not in text["configurations"]
    assert "2.9.0" in text["provenance"]
    assert "01234567, modified" in text["provenance"]
    assert "AUC is highest at t_sec 30" in text["over-timesteps"]


def test_what_a_reader_has_to_know_stands_on_top(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "sweep", each=60)
    amend(sweep.job(["+attack=stat"], {"stat": 1.0}), warnings=WARNED)
    sweep.job(["+attack=sima"], {"sima": 1.0})
    (sweep.failed(["+attack=nn"]) / "secmi_exp.log").write_text("started\nout of memory\n")
    (sweep.failed(["+attack=loss"]) / "failure.txt").write_text("attack.t=5000 exceeds the last timestep\n")
    (sweep.job(["+attack=pia"], {"pia": 0.0}) / "results.json").write_text('{"metrics": 3}')
    (tmp_path / "void").mkdir()
    found = read(sweep.folder, tmp_path / "void")
    warnings = found.words("warnings")
    assert "Warning The split is at fault." in warnings
    assert "Note 3 images have no caption." in warnings
    assert "An older version made this run" in warnings
    assert "fewer than 100 members or hold-outs" in warnings
    assert "Not resolved: 1% FPR needs at least 100 hold-outs." in warnings
    failed = found.words("failed")
    assert "was stopped, or is still running" in failed
    assert "It failed: attack.t=5000 exceeds the last timestep" in failed
    assert "out of memory" in failed
    assert "attack=nn" in failed
    assert "Its results.json can't be read" in failed
    assert "There is no run in it." in failed
    assert "not resolved" in found.text["comparison"]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "<img src=x onerror=alert(3)>")
    overrides = ["+attack=stat", f"tags=[{HOSTILE}]"]
    job = sweep.job(overrides, {"stat": 1.0}, dataset=HOSTILE, target=HOSTILE)
    amend(job, target=HOSTILE, unresolved={"log_pauc": HOSTILE}, versions={HOSTILE: HOSTILE})
    configure(job, {HOSTILE: HOSTILE, "seed": 1})
    configure(sweep.job(["+attack=stat", "tags=[b]"], {"stat": 0.5}, noise=1), {HOSTILE: "other", "seed": 1})
    (sweep.failed([f"note={HOSTILE}"]) / "a.log").write_text(HOSTILE)
    found = read(tmp_path)
    kinds = {tag for tag, _ in found.tags}
    assert "img" not in kinds
    assert [attributes.get("type") for tag, attributes in found.tags if tag == "script"] == [
        "application/json",
        *[None] * 3,
    ]
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    for section in ("comparison", "warnings", "configurations", "failed", "provenance"):
        assert HOSTILE in found.text[section], section


def test_nothing_reaches_for_the_network(tmp_path: Path) -> None:
    found = read(swept(tmp_path / "sweep").folder)
    policies = [attributes["content"] for _, attributes in found.tags if "http-equiv" in attributes]
    assert len(policies) == 1
    assert str(policies[0]).startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in str(policies[0])
    sources = [str(value) for _, each in found.tags for name, value in each.items() if name in ("src", "href")]
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not [attributes for _, attributes in found.tags if "style" in attributes]


def test_a_name_that_is_no_utf8_is_shown(tmp_path: Path) -> None:
    for noise in range(2):
        SweepFolder(tmp_path / str(noise)).job(["+attack=stat"], {"stat": 1.0}, noise=noise)
    (tmp_path / "0").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    write_report([tmp_path], tmp_path / "page.html")
    content = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "stat (?/0)" in content
    assert "No curve" not in content


def test_a_run_without_scores_attack_or_pictures_still_stands(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    (sweep.job(["+attack=stat"], {"stat": 1.0}) / "scores.parquet").write_bytes(b"PAR1 and nothing else")
    (sweep.job(["+attack=nn"], {"nn": 1.0, "stat": 0.5}) / "exposed.png").write_bytes(b"no picture")
    sweep.target_only([])
    text = read(sweep.folder).text
    assert "No curve is drawn, since scores.parquet can't be read" in text["warnings"]
    assert "exposed.png of nn can't be read" in text["exposed"]
    assert "target only" in text["comparison"]
    assert "stat by nn" in text["comparison"]


def test_a_further_scorer_is_left_out_where_its_own_job_has_the_same_scores(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    sweep.job(["+attack=nn"], {"nn": 0.5, "stat": 1.0})
    sweep.job(["+attack=stat"], {"stat": 1.0})
    assert [entry.name for entry in page_entries(find_runs([sweep.folder]))] == ["stat", "nn"]


def test_runs_are_found_once_each_with_two_before_ten(tmp_path: Path) -> None:
    swept(tmp_path / "outputs/sweeps/day/time", count=11, each=20)
    runs = find_runs([tmp_path / "outputs", tmp_path / "outputs/sweeps/day/time/3"]).finished
    assert [run.shown for run in runs] == [str(number) for number in range(11)]


def test_pictures_beyond_the_budget_are_left_out_and_said_so(tmp_path: Path) -> None:
    rows = page_entries(find_runs([swept(tmp_path / "sweep").folder]))
    whole = Album().gallery(rows, "exposed.png", "images")
    assert whole
    one = Album(left=max(len(image.source) for image in whole.images)).gallery(rows, "exposed.png", "images")
    assert one
    assert len(whole.images) == 3
    assert len(one.images) == 1
    assert "2 more are left out" in one.notes[0]


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 400), st.integers(0, 9))
def test_a_thinned_curve_keeps_its_low_corner_and_never_exceeds_the_exact_one(
    n_member: int, n_holdout: int, distinct: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    is_member = np.arange(n_member + n_holdout) < n_member
    roc = Roc.from_scores(rng.integers(distinct * 10, size=len(is_member)) + 1.0 * is_member, is_member)
    curve = thinned(roc, n_member, n_holdout)
    assert len(curve.fpr) <= MOST_POINTS
    assert (curve.n_member, curve.n_holdout) == (n_member, n_holdout)
    exact = [roc.tpr_at(fpr, n_holdout) for fpr in curve.fpr]
    assert curve.tpr == pytest.approx(exact)
    first = [fpr for fpr in roc.fpr if fpr <= 5 / n_holdout]
    for fpr in first:  # the first five false positives lose nothing
        kept = max((tpr for x, tpr in zip(curve.fpr, curve.tpr, strict=True) if x <= fpr), default=0.0)
        assert kept == pytest.approx(roc.tpr_at(fpr, n_holdout))


@given(st.text())
def test_any_text_survives_the_templates_and_the_scripts_data(text: str) -> None:
    shown = Read(environment().from_string('<p title="{{ text }}">{{ text }}</p>').render(text=text))
    assert shown.text.get("", "").replace("\r\n", "\n") == text.replace("\r\n", "\n")
    assert [dict(attributes)["title"] for _, attributes in shown.tags] == [text]
    data = environment().from_string("{{ text|tojson }}").render(text=text)
    assert "<" not in data
    assert json.loads(data) == text


def test_the_command_ends_with_the_path_and_mistakes_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page.html"
    main([str(swept(tmp_path / "sweep", count=1).folder), "-o", str(output)])
    assert capsys.readouterr().out == f"{output}\n"
    assert output.read_text(encoding="utf-8").startswith("<!doctype html>")
    for arguments, part in (
        ([str(tmp_path / "none")], "There is no directory"),
        ([str(tmp_path / "sweep"), "-o", str(tmp_path)], "name a file in a directory that exists"),
    ):
        with pytest.raises(SystemExit, match="1"):
            main(arguments)
        assert part in capsys.readouterr().err
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError, match="There is no run in"):
        write_report([tmp_path / "void"], output)
    assert not list(tmp_path.glob("*.part"))


def test_the_stylesheet_has_the_colours_of_the_figures(tmp_path: Path) -> None:
    content = render_page(find_runs([swept(tmp_path / "sweep", count=1).folder]))
    assert all(f"--c{number}: {colour};" in content for number, colour in enumerate(COLOURS))
