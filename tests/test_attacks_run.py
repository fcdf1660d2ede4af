"""Runs of every attack: what they find and leave, that labels decide nothing but fits, and scores from elsewhere."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from secmi_exp.data.images import ImageSet, Rows
from secmi_exp.data.split import Halves, Split
from secmi_exp.errors import UserError
from secmi_exp.evaluation.delong import auc_interval
from tests.support.commands import CONF
from tests.support.runs import MEMORIZING, run_here

ATTACKS = sorted(path.stem for path in (CONF / "attack").glob("*.yaml") if path.stem != "scores")
FAST = {
    "nn": ["attack.scorers.nn.network=small", "attack.scorers.nn.small.steps=[100]", "attack.stacked=[]"],
    "nn_paper": ["attack.scorers.nn_paper.epochs=1", "attack.scorers.nn_paper.min_steps=4"],
    "gsa": ["attack.timesteps=2"],
    "pfami": ["attack.timesteps=[0,100]"],
    "logan": ["attack.training_steps=20"],
    "tvd": ["attack.training_steps=20"],
}
BARELY_TRAINED = {"nn_paper", "logan", "tvd"}
"""Those that would find members after more steps than are affordable here; tests of their own show that."""
GENERATED = {"extraction", "gan_leaks", "monte_carlo_set", "over_representation", "logan", "tvd"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all, so that the target is queried once."""
    return tmp_path_factory.mktemp("attacks")


Ran = tuple[dict[str, Any], dict[str, np.ndarray]]
"""results.json with the run's folder, and the columns of scores.parquet."""


def ran(root: Path, name: str, *overrides: str) -> Ran:
    few = ["attack.samples=128", "attack.steps=4"] if name in GENERATED else []
    folder = run_here(root, f"+attack={name}", *FAST.get(name, []), *few, *overrides, base=MEMORIZING)
    table = pq.read_table(folder / "scores.parquet")
    rows = {column: table[column].to_numpy(zero_copy_only=False) for column in table.column_names}
    return json.loads((folder / "results.json").read_text()) | {"folder": str(folder)}, rows


@pytest.fixture(scope="module")
def ran_once(root: Path) -> Callable[[str], Ran]:
    """The run of an attack with nothing else set, which several tests look at."""
    return cache(partial(ran, root))


def permute_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that have nothing to do with who was trained on."""
    split = Halves.split

    def shuffled(self: Halves, images: ImageSet, alike: Rows | None = None) -> Split:
        made = split(self, images, alike)
        random, is_member = np.random.default_rng(1), made.is_member.copy()
        for part in set(made.part.tolist()):
            is_member[made.part == part] = random.permutation(is_member[made.part == part])
        return replace(made, is_member=is_member)

    monkeypatch.setattr(Halves, "split", shuffled)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_finds_the_members_of_a_target_that_knows_them_by_heart(
    ran_once: Callable[[str], Ran], name: str
) -> None:
    results, rows = ran_once(name)
    assert results["attack"] == name
    assert (results["queries_per_sample"] == 0) == (name == "blind")
    assert {"auc", "asr", "tpr_at_1pct_fpr", "precision_calibrated"} <= set(results["metrics"])
    if name == "blind":  # which doesn't see the target
        assert 0.35 < results["metrics"]["auc"] < 0.65
    elif name not in BARELY_TRAINED:
        assert results["metrics"]["auc"] > 0.8
        assert results["collection"]["p_mann_whitney"] < 1e-6
    assert results["split"]["blind"]["split_at_fault"] is False
    files = {path.name for path in Path(results["folder"]).iterdir()}
    assert {"roc.png", "roc_log.png", "scores.png", "exposed.png"} <= files
    assert ("t_errors.png" in files) == ("trajectory" in results)
    judged = rows["part"] == "evaluation"
    members = judged & rows["is_member"]
    assert np.isfinite(rows["percentile"][judged]).all()
    assert np.isnan(rows["p_value"][~judged]).all()
    assert (rows["q_value"][members] >= rows["p_value"][members] - 1e-12).all()
    assert np.isnan(rows["q_value"][~members]).all()


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow) if each.startswith("nn") else each for each in ATTACKS]
)  # nn, nn_paper: tests/attacks/test_nn.py has its own test of permuted labels
def test_permuted_labels_leave_chance_and_ask_the_target_nothing_new(
    root: Path, ran_once: Callable[[str], Ran], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran_once(name)
    permute_labels(monkeypatch)
    results, rows = ran(root, name)
    assert results["queries_spent"] == 0  # the target is asked nothing that depends on labels
    judged = rows["part"] == "evaluation"
    low, high = auc_interval(rows[f"score_{name}"][judged], rows["is_member"][judged], confidence=0.999)
    assert low < 0.5 < high < 0.85


def test_scores_from_elsewhere_are_judged_like_our_own(
    root: Path, ran_once: Callable[[str], Ran], tmp_path: Path
) -> None:
    ours, rows = ran_once("stat")
    order = np.random.default_rng(0).permutation(len(rows["id"]))
    columns = {"id": rows["id"][order], "score": rows["t_error"][order], "is_member": rows["is_member"][order]}
    pa.csv.write_csv(pa.table(columns), tmp_path / "scores.csv")
    given = ["dataset=digits", f"attack.path={tmp_path}/scores.csv", "attack.scorers.scores.members_have=less"]
    theirs, judged = ran(root, "scores", *given)
    for metric, value in ours["metrics"].items():
        assert theirs["metrics"][metric] == (None if value is None else pytest.approx(value, abs=1e-6))
    assert theirs["queries_per_sample"] == 0
    np.testing.assert_allclose(judged["score_scores"], rows["score_stat"], rtol=1e-6)
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    again, _ = ran(root, "scores", f"attack.path={tmp_path}/scores.parquet", given[0], given[2])
    assert again["metrics"] == theirs["metrics"]


def test_scores_that_do_not_fit_the_split_are_refused(
    root: Path, ran_once: Callable[[str], Ran], tmp_path: Path
) -> None:
    _, rows = ran_once("stat")
    columns = {"id": rows["id"], "score": rows["t_error"], "is_member": ~rows["is_member"]}

    def refused(message: str, *overrides: str, **changes: Any) -> None:
        kept = {name: values for name, values in (columns | changes).items() if values is not None}
        pa.csv.write_csv(pa.table(kept), tmp_path / "scores.csv")
        with pytest.raises(UserError, match=message):
            ran(root, "scores", "dataset=digits", f"attack.path={tmp_path}/scores.csv", *overrides)

    refused("disagree on 128 of 128 images, the first of them digits/")
    refused("has no score of 128 of the 128 attacked images", id=np.array([f"x{i}" for i in range(128)]))
    refused("names 1 images more than once", id=np.array([rows["id"][1], *rows["id"][1:]]))
    refused("none named loss: set attack.score_column", "attack.score_column=loss", is_member=None)
    refused("The column score is .much. in line 2 of .* a number", score=np.array(["much"] * 128), is_member=None)
    with pytest.raises(UserError, match="can't be read"):
        ran(root, "scores", "dataset=digits", f"attack.path={tmp_path}/nowhere.csv")
