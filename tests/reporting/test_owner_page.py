"""The page for an owner: which answer follows from which figures, and that it is short, plain and harmless."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from secmi_exp.errors import UserError
from secmi_exp.report import main, write_report
from secmi_exp.reporting.page.owner import LONGEST_WARNING, MOST_WARNINGS, Verdict, answer, render_owner_page
from secmi_exp.reporting.run_folders import find_runs
from tests.reporting.test_page import HOSTILE, Read
from tests.support.page_runs import amend, configure
from tests.support.sweep_folder import SweepFolder, finished_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FAULT = {"code": "split_at_fault", "sentence": "The split is at fault.", "side": None, "count": None, "grave": True}
COPIES = {**FAULT, "code": "holdouts_equal_to_a_member", "sentence": "3 hold-outs are members.", "count": 3}
BLIND = {"auc": 0.52, "ci95": [0.48, 0.56], "split_at_fault": False}


def answered(auc: float, low: float, high: float, p_value: float, **fields: Any) -> tuple[Verdict, str]:
    """The answer to figures."""
    found = {
        "metrics": {"auc": auc},
        "ci95": {"auc": (low, high)},
        "collection": {"n": 80, "n_reference": 80, "p_mann_whitney": p_value},
        "split": {"blind": BLIND},
        "warnings": [],
    }
    given = answer(finished_run("run", {}, **found | fields).results)
    return given.verdict, given.sentence


@pytest.mark.parametrize(
    ("figures", "verdict", "part"),
    [
        ((0.90, 0.86, 0.93, 1e-9), Verdict.EVIDENCE, "in 90 (with 95% confidence 86 to 93; guessing gives 50)"),
        ((0.90, 0.86, 0.93, 1e-9), Verdict.EVIDENCE, "at most 1 of 1,000,000 would give such a result"),
        ((0.60, 0.52, 0.68, 0.004), Verdict.EVIDENCE, "at most 1 of 100 would give such a result"),
        ((0.60, 0.51, 0.68, 0.02), Verdict.UNCLEAR, "too uncertain to tell use from chance"),
        ((0.51, 0.47, 0.55, 0.4), Verdict.NOTHING_FOUND, "does not prove that they were not used"),
        ((0.51, 0.42, 0.60, 0.4), Verdict.UNCLEAR, "with 80 and 80 images judged"),
        ((0.30, 0.25, 0.36, 0.999), Verdict.UNCLEAR, "in 30 (with 95% confidence 25 to 36; guessing gives 50): the"),
    ],
)
def test_the_answer_follows_from_the_interval_and_the_test(
    figures: tuple[float, float, float, float], verdict: Verdict, part: str
) -> None:
    found, sentence = answered(*figures)
    assert found is verdict
    assert part in sentence
    assert sentence.count(". ") == 0
    assert "AUC" not in sentence


def test_groups_that_differ_without_the_model_give_no_answer() -> None:
    strong = (0.95, 0.92, 0.97, 1e-20)
    at_fault = {"blind": {**BLIND, "auc": 0.9, "split_at_fault": True}}
    assert answered(*strong, split=at_fault)[0] is Verdict.UNCLEAR
    verdict, sentence = answered(*strong, warnings=[FAULT])
    assert verdict is Verdict.UNCLEAR
    assert "no measure of use: The split is at fault." in sentence


@pytest.mark.parametrize(
    ("excess", "verdict", "part"),
    [
        ({"value": 0.26, "ci90": [0.17, 0.35], "p_value": 8e-6}, Verdict.EVIDENCE, "26 more than is expected"),
        ({"value": 0.26, "ci90": [0.17, 0.35], "p_value": 8e-6}, Verdict.EVIDENCE, "at most 1 of 10,000 would give"),
        ({"value": 0.06, "ci90": [0.01, 0.11], "p_value": 0.02}, Verdict.UNCLEAR, "too uncertain to tell"),
        ({"value": -0.06, "ci90": [-0.17, 0.04], "p_value": 0.8}, Verdict.NOTHING_FOUND, "no sign of use, which does"),
        ({"value": -0.004, "ci90": [-0.07, 0.06], "p_value": 0.6}, Verdict.NOTHING_FOUND, "in 0 more than is expected"),
        ({"value": -0.004, "ci90": [-0.07, 0.06], "p_value": 0.6}, Verdict.NOTHING_FOUND, "7 fewer to 6 more)"),
        (None, Verdict.UNCLEAR, "Give references that are more like the collection."),
    ],
)
def test_surrogate_hold_outs_answer_by_their_excess_alone(
    excess: dict[str, Any] | None, verdict: Verdict, part: str
) -> None:
    surrogates = {"verdict": "", "why": "give references that are more like the collection", "excess": excess}
    found, sentence = answered(0.95, 0.92, 0.97, 1e-20, warnings=[FAULT], surrogates=surrogates)
    assert found is verdict
    assert part in sentence
    assert "AUC" not in sentence


def test_comparison_images_that_score_higher_have_an_answer_of_their_own() -> None:
    higher = {**FAULT, "code": "holdouts_score_higher", "sentence": "Hold-outs score higher."}
    verdict, sentence = answered(0.30, 0.25, 0.36, 0.999, warnings=[higher])
    assert verdict is Verdict.UNCLEAR
    assert "the comparison images seem the more used ones" in sentence


def test_copies_on_both_sides_leave_evidence_and_no_denial() -> None:
    assert answered(0.95, 0.92, 0.97, 1e-20, warnings=[COPIES])[0] is Verdict.EVIDENCE
    verdict, sentence = answered(0.51, 0.47, 0.55, 0.4, warnings=[COPIES])
    assert verdict is Verdict.UNCLEAR
    assert "replace them" in sentence


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with as much as a page can have to say."""
    sweep = SweepFolder(tmp_path_factory.mktemp("owner"), each=100)
    folder = sweep.job(["+attack=stat"], {"stat": 2.5})
    long = [
        {"code": f"w{i}", "sentence": f"{i} " + "long words " * 60, "side": None, "count": None, "grave": False}
        for i in range(MOST_WARNINGS + 3)
    ]
    digest = "0123456789abcdef" * 4
    origin = {"code": {"version": "0.1.0", "revision": digest[:40], "modified": True}, "entries": []}
    origin |= dict.fromkeys(("members", "attacked", "split", "target", "measured"), digest)
    split = {"members": 1000, "holdouts": 1000, "attacked": 200, "blind": BLIND}
    split |= {"holdouts_equal_to_a_member": 0, "copies_within_side": {"members": 2, "holdouts": 1}}
    split["near_duplicates"] = {"groups": 1, "members": 1, "holdouts": 2, "holdouts_like_a_member": 2}
    collection = {"n": 80, "n_reference": 80, "p_mann_whitney": 1e-9, "p_welch": None}
    amend(folder, warnings=long, provenance=origin, split=split, collection=collection)
    images = {"name": "image_folder", "members": f"/data/{'deep/' * 40}A", "holdout": "/data/B"}
    configure(folder, {"seed": 0, "dataset": images, "target": {"name": "ddpm", "path": "/models/ckpt.pt"}})
    return folder


def page(*folders: Path) -> Read:
    return Read(render_owner_page(find_runs(folders)))


def test_the_page_has_question_answer_comparison_doubts_warnings_and_hashes(run: Path) -> None:
    found = page(run)
    assert list(found.text)[1:] == ["question", "answer", "compared", "doubts", "warnings", "hashes"]
    assert "Were these 1,000 images used to train the model?" in found.words("question")
    assert found.words("answer").startswith("Evidence that they were used Of 100 pairs of")
    compared = found.words("compared")
    assert "1,000 given, of which 80 are judged; from …" in compared
    assert "from /data/B; said not to have been used" in compared
    assert "ddpm, /models/ckpt.pt" in compared
    assert "stat: it asks the model 11 times about each image" in compared
    doubts = found.words("doubts")
    assert "of 100 pairs it picks the one in question in 52 (with 95% confidence 48 to 56" in doubts
    assert "0 comparison images equal one that the model is said to have seen" in doubts
    assert "3 images repeat another of their own group" in doubts
    assert "2 comparison images look like an image in question" in doubts
    assert "3 more are in results.json" in found.words("warnings")
    config = hashlib.sha256((run / "config.yaml").read_bytes()).hexdigest()
    assert config in found.words("hashes")
    assert "0123456789abcdef" * 4 in found.words("hashes")


@pytest.mark.parametrize(
    ("trained_here", "target", "told"),
    [
        (True, {"path": None}, "ddpm, trained by this program on the images in question"),
        (True, {"path": "sd"}, "ddpm, sd, trained further by this program on the images in question"),
        (False, {"path": "ckpt.pt"}, "ddpm, ckpt.pt"),
        (False, {"path": {"kind": "flow"}}, "ddpm, not trained by this program"),
        (False, {"key": "mine"}, "ddpm, not trained by this program"),
        (None, {"path": None}, "ddpm, of which it was not recorded who trained it"),
    ],
)
def test_where_the_model_comes_from_is_what_the_run_recorded(
    run: Path, tmp_path: Path, trained_here: bool | None, target: dict[str, Any], told: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    amend(folder, target_trained_here=trained_here)
    configure(folder, {"target": target})
    assert f"Model{told} Attack" in page(folder).words("compared")


def test_grave_warnings_stand_on_the_page_before_others(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    others = [{**FAULT, "code": f"w{i}", "sentence": f"{i} is odd.", "grave": False} for i in range(MOST_WARNINGS)]
    amend(folder, warnings=[*others, FAULT])
    assert page(folder).words("warnings").startswith("What the run itself warns of The split is at fault.")


def test_the_page_is_short_and_asks_nothing_of_a_network(run: Path) -> None:
    found = page(run)
    assert len(" ".join(" ".join(found.text.values()).split())) < 5000
    assert max(len(sentence) for sentence in found.text["warnings"].splitlines()) <= LONGEST_WARNING
    kinds = {tag for tag, _ in found.tags}
    assert not kinds & {"script", "img", "a", "iframe"}
    (policy,) = [attributes["content"] for _, attributes in found.tags if "http-equiv" in attributes]
    assert str(policy).startswith("default-src 'none'; img-src data:; style-src 'sha256-")


def test_a_run_that_recorded_little_still_has_a_page(run: Path, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep", each=20).job(["+attack=scores"], {"scores": 0.0}, queries=0)
    amend(folder, target="none", collection={"n": 16, "n_reference": 16, "p_mann_whitney": None})
    (folder / "config.yaml").unlink()
    found = page(folder)
    assert "none was asked: the scores were made elsewhere" in found.words("compared")
    assert "Nothing has checked that" in found.words("doubts")
    assert "can't be read" in found.words("hashes")
    assert "no model was asked" in found.words("hashes")
    assert "warnings" not in found.text


def test_hostile_names_are_text_on_it(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    warned = [{**FAULT, "sentence": HOSTILE, "grave": False}]
    amend(folder, target=HOSTILE, dataset=HOSTILE, attack=HOSTILE, warnings=warned, versions={"secmi_exp": HOSTILE})
    configure(folder, {"dataset": {"members": HOSTILE}, "target": {"path": HOSTILE}})
    found = page(folder)
    assert not {tag for tag, _ in found.tags} & {"script", "img"}
    for section in ("compared", "warnings", "hashes"):
        assert HOSTILE in found.text[section]


def test_the_command_writes_it_and_refuses_what_is_not_one_attack(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "owner.html"
    main([str(run), "--for", "owner", "-o", str(output)])
    assert capsys.readouterr().out == f"{output}\n"
    assert "Evidence that they were used" in output.read_text(encoding="utf-8")
    sweep = SweepFolder(tmp_path / "sweep", each=20)
    sweep.target_only([])
    with pytest.raises(UserError, match="The run has attacked nothing"):
        write_report([sweep.folder], output, "owner")
    sweep.job(["+attack=stat"], {"stat": 1.0})
    with pytest.raises(UserError, match="about one run, and here are 2 with results"):
        write_report([sweep.folder], output, "owner")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
@pytest.mark.slow
def test_it_prints_on_one_side_of_paper(run: Path, tmp_path: Path) -> None:
    write_report([run], tmp_path / "owner.html", "owner")
    assert CHROMIUM
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={tmp_path}/me"]
    paper = tmp_path / "owner.pdf"
    subprocess.run(
        [CHROMIUM, *flags, f"--print-to-pdf={paper}", (tmp_path / "owner.html").as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    pages = re.findall(rb"/Type\s*/Page\b(?!s)", paper.read_bytes())
    assert len(pages) == 1
