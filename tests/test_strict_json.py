"""What is left is JSON that any reader takes, without NaN and infinity, even of a target that says nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from diffusers import DDPMScheduler

from secmi_exp.errors import UserError
from secmi_exp.evaluation.relative_t_error import relative_t_error
from secmi_exp.files.strict_json import as_strict_json
from secmi_exp.quality.measures import Measures
from secmi_exp.quality.quality import Quality
from secmi_exp.reporting.table_files import write_csv, write_parquet
from secmi_exp.store import write_json
from tests.support.audits import audit, sides
from tests.support.diffusers_folders import change_weights, pipeline
from tests.support.qualities import measured
from tests.support.query_attacks import measured as asked

NAN, INF = float("nan"), float("inf")


def parsed(path: Path) -> Any:
    """By a reader that refuses what Python's alone accepts."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds a bare {constant}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_a_constant_network_leaves_strict_json_and_a_grave_warning(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "constant", scheduler=DDPMScheduler(1000))
    change_weights(folder, lambda weights: (weights["conv_out.weight"].zero_(), weights["conv_out.bias"].zero_()))
    endless = ["quality=measured", "quality.samples=8", "quality.steps=2", "quality.blocks=2", "quality.timesteps=2"]
    results = audit(tmp_path, "diffusers", folder, *sides(tmp_path), *endless)
    files = [*tmp_path.rglob("*.json")]
    assert {"results.json", "entry.json", "quality.json", "queries.json"} <= {path.name for path in files}
    for path in files:
        parsed(path)
    assert results["relative_t_error"]["ratio"] == [None, None]
    assert results["metrics"]["auc"] == 0.5
    (equal,) = [warning for warning in results["warnings"] if warning["code"] == "scores_all_equal"]
    assert equal["grave"]
    table = pq.read_table(results["folder"] / "scores.parquet")
    assert not any(np.isnan(table[name].drop_null().to_numpy()).any() for name in ("t_error", "p_value", "q_value"))


def test_what_json_cannot_hold_is_no_silent_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        write_json(tmp_path / "results.json", {"auc": NAN})
    assert not [*tmp_path.iterdir()]
    write_json(tmp_path / "results.json", as_strict_json({"auc": NAN, "p": [1.0, -INF], "name": "nan"}, lambda _: None))
    assert parsed(tmp_path / "results.json") == {"auc": None, "p": [1.0, None], "name": "nan"}


def test_names_of_files_that_are_not_unicode_are_escaped(tmp_path: Path) -> None:
    content = as_strict_json({"path": "\udce9.csv", "\ud83d": ["ü"]}, str)
    write_json(tmp_path / "results.json", content)
    assert parsed(tmp_path / "results.json") == {"path": "\\udce9.csv", "\\ud83d": ["ü"]}


def test_a_setting_that_is_infinite_leaves_strict_json_in_the_store(tmp_path: Path) -> None:
    found = asked(tmp_path, "+attack=sima", "attack.t=10", "attack.p=inf")
    for path in tmp_path.rglob("*.json"):
        parsed(path)
    assert asked(tmp_path, "+attack=sima", "attack.t=10", "attack.p=inf").queries_spent == 0
    assert (found.numbers["prediction_norm"] > 0).all()


def test_cells_that_are_not_finite_are_empty(tmp_path: Path) -> None:
    rows = [{"auc": 0.5, "p": NAN}, {"auc": INF}]
    write_csv(tmp_path / "rows.csv", rows)
    assert (tmp_path / "rows.csv").read_text().splitlines() == ["auc,p", "0.5,", ","]
    write_parquet(tmp_path / "rows.parquet", rows)
    assert pq.read_table(tmp_path / "rows.parquet").to_pydict() == {"auc": [0.5, None], "p": [None, None]}


@pytest.mark.filterwarnings("error")
def test_relative_t_errors_have_no_value_where_there_is_none() -> None:
    errors = np.array([[0.0, 1.0, INF], [0.0, 2.0, 1.0], [1.0, 3.0, 1.0], [2.0, 5.0, 1.0]])
    found = relative_t_error([10, 20, 30], errors, np.array([True, True, False, False]))
    for values in (found.ratio, found.low, found.high):
        assert np.isfinite(values).tolist() == [False, True, False]


def test_a_distance_that_is_not_finite_is_named_from_the_store_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quality, "_compare", lambda *_: Measures({"fid": NAN}, {"fid": None}))
    for _ in range(2):
        with pytest.raises(UserError, match="The quality's fid is not finite, though samples and images are"):
            measured(tmp_path)
