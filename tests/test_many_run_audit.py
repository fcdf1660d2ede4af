"""A sweep over seeds is read as trials of its canaries, and its bound told in a sentence."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments import kept
from experiments.many_run_audit import main, read_sweep, sentence
from experiments.tables import markdown
from secmi_exp.errors import UserError
from secmi_exp.evaluation.many_runs import many_run_bound


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """90 jobs with three canaries, of which the second one is fully exposed; one canary a job is no trial."""
    rng = np.random.default_rng(0)
    for job in range(90):
        folder = tmp_path / str(job)
        folder.mkdir()
        (folder / "results.json").write_text(
            json.dumps({"attack": "stat", "dataset": "digits", "target": "ddpm_small"})
        )
        coins = rng.random(3) < 0.5
        scores = rng.normal(size=3) + [0.0, 20.0, 0.0] * coins
        part = np.where(np.arange(3) == job % 3, "attack_train", "evaluation")
        columns = {"id": ["canary/0", "canary/1", "canary/2"], "part": part, "is_member": coins, "score_stat": scores}
        pq.write_table(pa.table(columns), folder / "scores.parquet")
    return tmp_path


def test_the_exposed_canary_is_found_among_the_trainings_that_judge_it(sweep: Path) -> None:
    ids, scores, included, results = read_sweep(sweep)
    assert ids == ["canary/0", "canary/1", "canary/2"]
    assert results.attack == "stat"
    assert np.isnan(scores).sum() == 90
    assert np.isnan(scores[10]).tolist() == [False, True, False]
    bound = many_run_bound(scores, included, delta=1e-5)
    assert "from canary/1: 0 of " in sentence(bound, ids)
    assert bound.epsilon > 1.0
    assert bound.outcome.n_member + bound.outcome.n_holdout == 40


def test_a_sweep_is_kept_with_the_highest_bound_that_it_could_give(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "RESULTS", tmp_path)
    kept.keep_many_runs(sweep, "many")
    (row,) = kept.read_rows(kept.table("many"))
    assert (row["trainings"], row["canary"], row["missed"], row["falsely_called"]) == ("90", "canary/1", "0", "0")
    assert row["epsilon"] == row["highest_possible"]
    assert markdown("many").splitlines()[2].endswith(f"| {float(row['epsilon']):.2f} | 1e-05 | 95% |")


def test_what_has_no_canaries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="has no jobs with canaries: sweep over seed"):
        read_sweep(tmp_path)
    monkeypatch.setattr("sys.argv", ["many_run_audit", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
