"""Scores without images: judged and compared by their ids, and files that can't be judged told in a sentence."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secmi_exp.api.result import load
from secmi_exp.data.scored_images import ScoredImages
from secmi_exp.errors import UserError
from secmi_exp.evaluation.delong import paired_test
from secmi_exp.evaluation.roc import Roc
from secmi_exp.reporting.common_images import on_common_images
from secmi_exp.reporting.contests import find_contests
from secmi_exp.reporting.entries import read_entries
from secmi_exp.reporting.page.render import render_page
from secmi_exp.reporting.ranking import rank
from secmi_exp.reporting.run_folders import find_runs
from tests.support.runs import run_here
from tests.support.splits import halves_rule

N = 60
IDS = [f"image {i}" for i in range(N)]
IS_MEMBER = np.arange(N) % 2 == 0


def scores(shift: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=N) + shift * IS_MEMBER


def write(path: Path, values: Sequence[float], rows: Sequence[int] = range(N)) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "score", "is_member"])
        writer.writerows([IDS[row], values[row], int(IS_MEMBER[row])] for row in rows)
    return path


def ran(root: Path, path: Path, *overrides: str) -> tuple[dict[str, Any], Path]:
    rounds = "evaluation.bootstrap_rounds=50"
    folder = run_here(root, "+attack=scores", f"attack.path={path}", rounds, *overrides, base=[])
    return json.loads((folder / "results.json").read_text()), folder


def scored_images(path: Path | None) -> ScoredImages:
    """As conf/dataset/scored_images.yaml has it; composing that takes a second."""
    return ScoredImages(
        name="scored_images", source="", licence="", image_size=32, channels=3, crop=None, horizontal_flip=False,
        on_error="stop", path=path, id_column="id", member_column="is_member",
    )  # fmt: skip


def test_scores_are_judged_without_a_dataset(tmp_path: Path) -> None:
    values = scores(1.5, 0)
    results, folder = ran(tmp_path, write(tmp_path / "a.csv", values.tolist()), "split.attack_train=0")
    assert results["metrics"]["auc"] == Roc.from_scores(values, IS_MEMBER).auc
    assert (results["dataset"], results["target"], results["dataset_facts"]["images"]) == ("scored_images", "none", N)
    assert [each["code"] for each in results["warnings"]] == ["split_not_checked"]
    assert "holdouts_equal_to_a_member" not in results["split"]  # nobody has looked
    table = pq.read_table(folder / "scores.parquet")
    assert sorted(table["id"].to_pylist()) == sorted(IDS)
    assert {"percentile", "q_value"} <= set(table.column_names)
    files = {path.name for path in folder.iterdir()}
    assert {"roc.png", "scores.png"} <= files
    assert load(folder).headline.startswith("scores on scored_images: ")
    assert "exposed.png" not in files
    assert "the scores come without images" in render_page(find_runs([folder]))
    pq.write_table(pa.table({"id": IDS, "score": -values, "is_member": IS_MEMBER}), tmp_path / "a.parquet")
    less, _ = ran(tmp_path, tmp_path / "a.parquet", "attack.scorers.scores.members_have=less", "split.attack_train=0")
    assert less["metrics"] == results["metrics"]


def test_a_file_of_scores_with_the_opposite_sign_is_warned_of_with_the_columns_that_decide_it(tmp_path: Path) -> None:
    opposite = write(tmp_path / "a.csv", scores(-1.5, 0).tolist())
    warned = {each["code"]: each for each in ran(tmp_path, opposite, "split.attack_train=0")[0]["warnings"]}
    assert warned["holdouts_score_higher"]["grave"]
    assert "what the columns is_member and score mean" in warned["holdouts_score_higher"]["sentence"]
    assert "attack.scorers.scores.members_have=less" in warned["holdouts_score_higher"]["sentence"]
    chance = ran(tmp_path, write(tmp_path / "b.csv", scores(-0.1, 0).tolist()), "split.attack_train=0")[0]
    assert chance["metrics"]["auc"] < 0.5
    assert "holdouts_score_higher" not in {each["code"] for each in chance["warnings"]}


def test_the_terminal_has_the_collections_p_value_and_names_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, folder = ran(tmp_path, write(tmp_path / "a.csv", scores(1.5, 0).tolist()))
    printed = capsys.readouterr().out
    assert f"Collection: p = {results['collection']['p_mann_whitney']:.2g}, which" in printed
    assert f"`python -m secmi_exp.report {folder} --for owner` writes the answer as a page." in printed
    assert printed.splitlines()[-1] == str(folder)
    ran(tmp_path, write(tmp_path / "b.csv", scores(-1.5, 0).tolist()))
    printed = capsys.readouterr().out
    assert "Collection: p" not in printed  # a grave warning
    assert "--for owner" in printed


def test_the_order_of_the_rows_decides_nothing(tmp_path: Path) -> None:
    rule = halves_rule()
    files = [
        write(tmp_path / f"{i}.csv", scores(1, 0).tolist(), order)
        for i, order in enumerate(([*range(N)], [*range(N)][::-1]))
    ]
    one, other = (scored_images(path).load(None, progress_bar=False) for path in files)  # type: ignore[arg-type]
    assert one.ids == other.ids
    assert rule.split(one).part.tolist() == rule.split(other).part.tolist()
    assert one.select(np.arange(N)).digest == other.select(np.arange(N)).digest


def test_files_of_the_same_images_and_of_some_in_common_are_compared_by_the_paired_test(tmp_path: Path) -> None:
    values, rows = {"a": scores(1.5, 0), "b": scores(0.2, 1)}, {"a": range(40), "b": range(20, N)}
    for name in ("a", "b"):
        path = write(tmp_path / f"{name}.csv", values[name].tolist(), rows[name])
        ran(tmp_path, path, "split.attack_train=0")
    runs = find_runs([tmp_path / "runs"]).finished
    entries = read_entries([replace(run, overrides={"attack.path": run.config["attack.path"]}) for run in runs])
    assert not find_contests(entries)
    (contest,) = find_contests(on_common_images(entries))
    (pair,) = rank(contest).pairs
    common = slice(20, 40)
    expected = paired_test(values["a"][common], values["b"][common], IS_MEMBER[common])
    assert abs(pair["auc_difference"]) == pytest.approx(abs(expected.difference))
    assert pair["p_value"] == pytest.approx(expected.p_value)
    assert {scoring.auc for scoring in contest.scorings} == {
        Roc.from_scores(values[name][common], IS_MEMBER[common]).auc for name in ("a", "b")
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("id,score\na,1\n", "has the columns id, score, and none named is_member, .* as in dataset=digits"),
        ("name,score,is_member\na,1,1\n", "none named id: set attack.id_column"),
        ("id,score,is_member\na,1,1\na,2,0\n", "names 1 images more than once, a among them"),
        ("id,score,is_member\na,1,2\nb,2,0\n", "is_member is '2' in line 2 of .*, where true, false, 1 or 0 is needed"),
        ("id,score,is_member\na,1,yes\nb,2,no\n", "is_member is 'yes' in line 2"),
        ("id,score,is_member\na,1,\nb,2,0\n", "is_member is empty in line 2"),
        ("id,score,is_member\na,1,1\nb,2,True\n", "lists 2 members and 0 hold-outs: scores of both are needed"),
        ("id,score,is_member\n", "lists 0 members and 0 hold-outs"),
        ("", "is empty: its first row must name the columns"),
        ("id,score,is_member\n,1,1\nb,2,0\n", "The column id is empty in line 2"),
        ("id;score;is_member\na;1;1\n", "without a comma"),
        ("id,score,is_member\na,1\nb,2,0\n", "Line 2 .* has 2 cells where the first row names 3"),
        ("id,score,is_member\nä,1,1\nb,2,0\n", "isn't UTF-8"),
    ],
)
def test_files_that_can_not_be_judged_are_told_in_a_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(content.encode("latin-1" if "UTF-8" in sentence else "utf-8"))
    with pytest.raises(UserError, match=sentence):
        scored_images(path).load(None, progress_bar=False)  # type: ignore[arg-type]


def test_ids_without_images_are_for_scores_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset=scored_images has no images, and is for .attack=scores"):
        run_here(tmp_path, "+attack=stat", "dataset=scored_images", base=[])
    with pytest.raises(UserError, match="choose another dataset"):
        scored_images(None).load(None, progress_bar=False)  # type: ignore[arg-type]


def test_a_byte_order_mark_and_ids_that_are_no_unicode_are_read(tmp_path: Path) -> None:
    rows = [{"id": "\ud83d", "score": 1, "is_member": True}, {"id": "b", "score": 2, "is_member": False}]
    path = tmp_path / "scores.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(map(json.dumps, rows)).encode())
    assert list(scored_images(path).load(None, progress_bar=False).ids) == ["\\ud83d", "b"]  # type: ignore[arg-type]
