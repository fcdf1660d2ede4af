"""The gate of a release: exit status, sentence, gate.md and gate.xml of runs and sweeps."""

import json
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from secmi_exp.__main__ import end_by_gate
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import Scorer, Scores
from secmi_exp.errors import UserError
from secmi_exp.evaluation.gate import Comparison, Decision, Measured, Outcome
from secmi_exp.files.strict_json import Json
from secmi_exp.reporting.gate_report import decisions_of, gate_end, junit, level_notes, markdown
from secmi_exp.reporting.run_folders import read_sweep
from secmi_exp.reporting.sweep_output import close_sweep
from tests.support.commands import Command
from tests.support.page_runs import amend
from tests.support.runs import MEMORIZING, run_here
from tests.support.sweep_folder import SweepFolder
from tests.support.unrendered import unrendered_figures

STAT = ["+attack=stat", "evaluation.blind=false"]


class Same(Scorer):
    """Tells no image from another."""

    def score(self, measured: Measurements) -> Scores:
        return np.zeros(len(measured.numbers["t_error"]))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a store that the module's runs share."""
    return tmp_path_factory.mktemp("gate")


def ended(output: Path, *limits: str) -> tuple[int, str, Path]:
    """Exit status and sentence of a run with limits, and its folder."""
    folder = run_here(output, *STAT, *limits, base=MEMORIZING)
    end = gate_end(folder)
    assert end
    return *end, folder


@pytest.mark.parametrize(
    ("limits", "status", "sentence"),
    [
        (["gate.max_auc=1"], 0, "The gate is passed: the interval ends at or below its limit (gate.md)."),
        (
            ["gate.max_auc=0.55", "gate.max_epsilon=0.5"],
            3,
            "The gate has failed: stat's AUC is 1.000 [0.930, 1.000], above gate.max_auc=0.55; and 1 more of 2 "
            "comparisons (gate.md).",
        ),
        (["gate.max_auc=0.95"], 4, "The gate is undecided: stat's AUC is 1.000 [0.930, 1.000], compared with"),
    ],
)
def test_a_run_ends_with_the_status_and_the_sentence_of_its_gate(
    output: Path, limits: list[str], status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, text, folder = ended(output, *limits)
    assert found == status
    assert sentence in text
    assert text in capsys.readouterr().out
    assert (folder / "gate.md").read_text(encoding="utf-8").startswith(f"## {text}")
    if status == 0:
        end_by_gate(folder)
        return
    with pytest.raises(SystemExit) as raised:
        end_by_gate(folder)
    assert raised.value.code == status
    assert capsys.readouterr().err == f"secmi_exp: {text}\n"


def test_a_pass_on_stated_sides_without_their_check_says_that_it_was_left_out(output: Path) -> None:
    drawn = ended(output, "gate.max_auc=1")[2]
    sides = ["split=indices", f"split.path={drawn}/split.npz", "split.members=null", "split.holdouts=null"]
    stated = ended(output, "gate.max_auc=1", *sides)[2]
    warnings, expected = [json.loads((folder / "results.json").read_text())["warnings"] for folder in (stated, drawn)]
    (added,) = [each for each in warnings if each not in expected]
    assert (added["code"], added["grave"]) == ("split_not_checked", False)
    assert added["sentence"].endswith("more than membership: evaluation.blind=false leaves the check out.")


def test_every_scorer_is_judged_and_recorded(output: Path) -> None:
    further = "{_target_: secmi_exp.attacks.scorers.column.Column, value: t_error, members_have: more}"
    limits = ["gate.max_auc=0.9", "gate.max_tpr_at_1pct=0.02"]
    _, _, folder = ended(output, f"+attack.scorers.inverse={further}", *limits)
    gate = json.loads((folder / "results.json").read_text())["gate"]
    assert gate["outcome"] == "failed"
    assert [(each["scorer"], each["outcome"]) for each in gate["comparisons"]] == [
        ("stat", "failed"),
        ("stat", "undecided"),
        ("inverse", "passed"),
        ("inverse", "undecided"),
    ]
    suite = ElementTree.parse(folder / "gate.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "2")
    assert [case.get("classname") for case in suite] == 2 * ["gate.stat"] + 2 * ["gate.inverse"]
    assert "1% FPR needs at least 100 hold-outs" in str(suite[1][0].get("message"))


@pytest.mark.parametrize(("comparisons", "several"), [(1, False), (2, True)])
def test_how_comparisons_are_put_together_is_told_of_several(comparisons: int, several: bool) -> None:
    notes = "\n".join(level_notes(comparisons))
    assert (f"The worst of the {comparisons} decides" in notes) is several
    assert (f"({comparisons} × 2.5%)" in notes) is several


def test_no_limit_changes_nothing(output: Path) -> None:
    folder = run_here(output, *STAT, base=MEMORIZING)
    assert gate_end(folder) is None
    assert "gate" not in json.loads((folder / "results.json").read_text())
    assert not [*folder.glob("gate.*")]
    end_by_gate(folder)
    end_by_gate(None)


def test_figures_that_measure_no_leak_decide_nothing(output: Path) -> None:
    status, text, _ = ended(output, "+attack.scorers.same={_target_: tests.test_gate.Same}", "gate.max_auc=0.55")
    assert status == 4
    assert "the figures measure no leak, by the run's warnings (scores_all_equal)" in text


def test_hold_outs_that_score_higher_than_members_pass_no_gate(output: Path) -> None:
    status, text, folder = ended(output, "attack.scorers.stat.members_have=more", "gate.max_auc=0.55")
    assert status == 4
    assert "(holdouts_score_higher)" in text
    warned = {each["code"]: each for each in json.loads((folder / "results.json").read_text())["warnings"]}
    sentence = warned["holdouts_score_higher"]["sentence"]
    assert "AUC 0.000 [0.000, 0.070]" in sentence
    assert "the sides may be swapped" in sentence
    assert "members_have" not in sentence


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["gate.max_auc=0.55"], "gate.max_auc limits what an attack finds: add +attack=stat"),
        (["+attack=blind", "gate.max_auc=0.55"], "attack=blind never sees the target"),
        ([*STAT, "gate.max_tpr_at_1pct=0.1", "evaluation.low_fprs=[0.001]"], "needs 0.01 in evaluation.low_fprs"),
        ([*STAT, "gate.max_auc=55"], "gate.max_auc=55 can't be used: input should be less than or equal to 1"),
        ([*STAT, "gate.max_auc=true"], "gate.max_auc=true"),
        ([*STAT, "+gate.max_acc=1"], "gate.max_acc=1 can't be used"),
    ],
)
def test_limits_that_nothing_could_meet_are_refused(tmp_path: Path, overrides: list[str], part: str) -> None:
    with pytest.raises(UserError, match=part.replace("+", r"\+")):
        run_here(tmp_path, *overrides, base=MEMORIZING)


def gated(outcome: Outcome, name: str = "stat") -> dict[str, Json]:
    """The field of results.json."""
    measured: dict[str, Json] = {"value": 0.6, "low": 0.5, "high": 0.7, "unresolved": ""}
    comparison: Json = {
        "scorer": name, "limit": "max_auc", "maximum": 0.55, "measured": measured, "outcome": outcome, "reason": "",
    }  # fmt: skip
    return {"outcome": outcome, "comparisons": [comparison]}


def test_of_a_sweep_the_worst_job_decides_and_one_without_a_result_is_no_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = SweepFolder(tmp_path / "sweep", each=30)
    amend(sweep.job(["+attack=stat"], {"stat": 1.0}), gate=gated(Outcome.PASSED))
    amend(sweep.job(["+attack=pia"], {"pia": 1.0}), gate=gated(Outcome.PASSED))
    assert gate_end(sweep.folder) == (0, "The gate is passed: all 2 intervals end at or below their limits (gate.md).")
    sweep.failed(["+attack=nn"])
    status, sentence = gate_end(sweep.folder) or (None, "")
    assert status == 4
    assert sentence.startswith("The gate is undecided: job 2: there is nothing to compare (It has no results.json")
    amend(sweep.folder / "1", gate=gated(Outcome.FAILED))
    assert (gate_end(sweep.folder) or (None,))[0] == 3
    with unrendered_figures():
        close_sweep(sweep.folder)
    summary = (sweep.folder / "gate.md").read_text(encoding="utf-8")
    assert "| 1 | stat | max_auc = 0.55 | 0.600 [0.500, 0.700] | **failed** |  |" in summary
    assert "at most 7.5% (3 × 2.5%)" in summary
    suites = ElementTree.parse(sweep.folder / "gate.xml").getroot()
    assert [(suite.get("failures"), suite.get("errors")) for suite in suites] == [("0", "0"), ("1", "0"), ("0", "1")]
    assert ",passed," in (sweep.folder / "summary.csv").read_text()
    assert "The gate has failed: job 1: stat's AUC" in capsys.readouterr().out


def test_a_sweep_without_limits_has_no_gate(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "sweep", each=30)
    sweep.job(["+attack=stat"], {"stat": 1.0})
    sweep.failed(["+attack=nn"])
    assert decisions_of(read_sweep(sweep.folder)) == {}
    assert gate_end(sweep.folder) is None


def test_hostile_names_break_neither_file() -> None:
    name = 'a|b\n<img src=x onerror=alert(1)>"\x1b\ud800'
    comparison = Comparison(name, "max_auc", 0.5, Measured(0.9, 0.8, 1.0), Outcome.FAILED, name)
    decisions: Mapping[str, Decision] = {name: Decision((comparison,)), "b": Decision((comparison,))}
    (case, _) = ElementTree.fromstring(junit(decisions)).iter("testcase")
    assert "<img" in str(case.get("classname"))
    text = markdown(decisions)
    assert "<img" not in text
    assert text.encode("utf-8")
    (row, *_) = [line for line in text.splitlines() if "**failed**" in line]
    assert row.replace(r"\|", "").count("|") == 7


@pytest.mark.slow
def test_the_command_exits_with_3_and_the_same_command_judges_what_the_store_has(secmi: Command) -> None:
    arguments = ["+attack=stat", "experiment=smoke", "trainer=cpu", "logger=none"]
    assert secmi(*arguments).returncode == 0
    finished = secmi(*arguments, "gate.max_auc=0.01")
    assert finished.returncode == 3, finished.stderr
    assert "Training" not in finished.stderr
    assert finished.stderr.splitlines()[-1].startswith("secmi_exp: The gate has failed: stat's AUC is ")
    assert finished.folder.is_dir()
    sweep = secmi("-m", *arguments, "attack.t_sec=20,30", "gate.max_auc=0.01,1")
    assert sweep.returncode == 3, sweep.stderr
    assert (sweep.folder / "gate.xml").is_file()
