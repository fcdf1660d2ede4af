"""Twelve images a side, three, two and one: what is judged, what stays open, and what is refused with a number."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secmi_exp.errors import UserError
from secmi_exp.evaluation.judge import CALIBRATED, judge
from secmi_exp.evaluation.relative_t_error import relative_t_error
from secmi_exp.evaluation.roc import asr_interval
from secmi_exp.evaluation.scored import Scored
from secmi_exp.reporting.page.render import render_page
from secmi_exp.reporting.run_folders import find_runs
from secmi_exp.reporting.run_results import _collection_fields
from tests.support.runs import run_here


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("few")


def ran(root: Path, n: int, *overrides: str, attack: str = "stat") -> tuple[dict[str, Any], Path]:
    sizes = [f"split.members={n}", f"split.holdouts={n}", "evaluation.bootstrap_rounds=50"]
    short = ["attack.t_sec=20", "attack.t_max=20"] if attack == "stat" else []
    folder = run_here(root, "target=memorizing", f"+attack={attack}", *short, *sizes, *overrides, base=[])
    return json.loads((folder / "results.json").read_text()), folder


@pytest.mark.parametrize(("n", "grave"), [(12, []), (3, []), (2, ["too_few_to_tell"])])
def test_all_of_few_images_are_judged_and_no_threshold_is_calibrated(root: Path, n: int, grave: list[str]) -> None:
    results, folder = ran(root, n)
    assert (results["n_member"], results["n_holdout"], results["split"]["attack_train"]) == (n, n, 0)
    for name in CALIBRATED:
        assert "no images are left to calibrate" in results["unresolved"][name]
    assert results["validation"] is results["epsilon_lower_bound"] is results["threshold"]["calibrated"] is None
    assert results["ci95"]["auc"][0] < results["metrics"]["auc"] == 1.0
    warned = {each["code"]: each for each in results["warnings"]}
    assert warned["no_attack_train_part"]["sentence"].startswith(
        f"With only {n} images a side none are set aside to calibrate a threshold (with split.attack_train=0.2 that "
        "takes 13)"
    )
    assert [code for code, each in warned.items() if each["grave"]] == grave
    assert set(pq.read_table(folder / "scores.parquet")["part"].to_pylist()) == {"evaluation"}
    page = render_page(find_runs([folder]))
    assert "no images are left to calibrate a threshold on" in page


def test_members_without_a_score_are_counted_where_they_are_stated(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"members": np.arange(20), "holdouts": np.arange(20, 34)}
    for name, rows in names.items():
        (root / f"{name}.txt").write_text("\n".join(map(str, rows)))
    stated = ["split=indices", *[f"split.{name}={root}/{name}.txt" for name in names]]
    overrides = ["target=memorizing", "+attack=stat", "attack.t_sec=20", "attack.t_max=20", *stated]
    folder = run_here(root, *overrides, "evaluation.bootstrap_rounds=50", base=[])
    warnings = json.loads((folder / "results.json").read_text())["warnings"]
    (warning,) = [each for each in warnings if each["code"] == "members_not_attacked"]
    assert (warning["count"], warning["side"], warning["grave"]) == (6, "members", False)
    assert warning["sentence"].startswith("6 of 20 members are not attacked and get no score")
    assert "--for owner" in capsys.readouterr().out
    drawn, _ = ran(root, 14, "split.members=20")
    assert "--for owner" not in capsys.readouterr().out
    assert "members_not_attacked" not in {each["code"] for each in drawn["warnings"]}


def test_one_image_a_side_is_refused_and_one_member_is_judged_among_many_hold_outs(root: Path) -> None:
    with pytest.raises(UserError, match=r"say nothing about a leak.*Give at least 3 of each, or 19 hold-outs"):
        ran(root, 1)
    results, _ = ran(root, 1, "split.holdouts=19", "split.all_holdouts=true")
    assert results["collection"]["p_mann_whitney"] == pytest.approx(0.05)
    assert "too_few_to_tell" not in (codes := {each["code"] for each in results["warnings"]})
    assert "split_not_checked" in codes
    assert results["split"]["blind"] is None


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        ("nn", "attack=nn fits nn on the attack-train part, and 12 images a side are too few.* 13 would do"),
        ("quantile", "fits quantile .* with 0.5 and 0.5 three; or choose an attack that fits nothing"),
        ("gsa", "13 would do"),
    ],
)
def test_attacks_that_are_fitted_refuse_few_images_with_a_number(root: Path, attack: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ran(root, 12, attack=attack)
    with pytest.raises(UserError, match=r"split.attack_train=0 leaves none: set it above 0"):
        ran(root, 12, "split.attack_train=0", attack=attack)


def test_scores_that_are_constant_on_each_side_have_no_welch_test() -> None:
    found = _collection_fields(Scored(np.array([2.0, 2.0, 1.0, 1.0]), np.arange(4) < 2))
    assert found["p_welch"] is None
    assert found["p_mann_whitney"] > 0.05


@given(seed=st.integers(0, 999), n=st.integers(1, 12))
@settings(deadline=None)
def test_without_calibration_intervals_are_as_wide_as_the_sample_is_small(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    judged = judge(Scored(random.normal(size=2 * n), np.arange(2 * n) < n), None, rounds=20, seed=0, low_fprs=[0.5])
    assert judged.ci95["asr"] == asr_interval(judged.metrics["asr"] or 0.0, n, n)
    point = judged.operating_points.get("tpr_at_50pct_fpr")
    if point:
        low, high = judged.ci95["tpr_at_50pct_fpr"] or (np.nan, np.nan)
        assert low <= point.tpr_interval[0] <= point.tpr_interval[1] <= high


def test_the_interval_of_the_best_accuracy_covers_it_at_any_size() -> None:
    random, truth = np.random.default_rng(0), 0.6914624612740131  # Φ(½): normal scores one standard deviation apart
    for n in (2, 12, 50):
        covered = 0
        for _ in range(100):
            scored = Scored(np.concatenate([random.normal(1, 1, n), random.normal(0, 1, n)]), np.arange(2 * n) < n)
            judged = judge(scored, None, rounds=1, seed=0)
            low, high = judged.ci95["asr"] or (1.0, 0.0)
            covered += low <= truth <= high
        assert covered >= 95


def test_one_sample_a_side_has_a_relative_t_error_without_an_interval(recwarn: pytest.WarningsRecorder) -> None:
    found = relative_t_error([10], np.array([[1.0], [2.0], [4.0]]), np.array([True, False, False]))
    assert found.ratio == [3.0]
    assert np.isnan([*found.low, *found.high]).all()
    assert not recwarn.list
