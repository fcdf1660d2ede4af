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

IDS = [f"canary/{number:02d}" for number in range(15)]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 jobs with 15 canaries, of which the second one is fully exposed; a third of them are no trials of a job."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("sweep")
    for job in range(60):
        folder = root / str(job)
        folder.mkdir()
        (folder / "results.json").write_text(
            json.dumps({"attack": "stat", "dataset": "digits", "target": "ddpm_small"})
        )
        coins = rng.random(15) < 0.5
        scores = (rng.uniform(size=15) + np.where(np.arange(15) == 1, 20.0, 0.0) * coins) * 10.0 ** (
            job % 4
        ) - 5.0 * job
        part = np.where(np.arange(15) % 3 == job % 3, "attack_train", "evaluation")
        columns = {"id": IDS, "part": part, "is_member": coins, "score_stat": scores}
        pq.write_table(pa.table(columns), folder / "scores.parquet")
    return root


def test_the_exposed_canary_is_found_among_the_trainings_that_judge_it_whatever_their_scale(sweep: Path) -> None:
    ids, scores, included, results = read_sweep(sweep)
    assert ids == IDS
    assert results.attack == "stat"
    assert np.isnan(scores).sum() == 300
    assert np.isnan(scores[10]).tolist() == [False, True, False] * 5
    bound = many_run_bound(scores, included, delta=1e-5)
    assert "from canary/01: 0 of " in sentence(bound, ids)
    assert bound.epsilon == bound.highest_possible > 0.7
    assert bound.outcome.n_member + bound.outcome.n_holdout == 27


def test_a_sweep_is_kept_with_the_highest_bound_that_it_could_give(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "RESULTS", tmp_path)
    kept.keep_many_runs(sweep, "many")
    (row,) = kept.read_rows(kept.table("many"))
    assert (row["trainings"], row["canary"], row["missed"], row["falsely_called"]) == ("60", "canary/01", "0", "0")
    assert row["epsilon"] == row["highest_possible"]
    assert markdown("many").splitlines()[2].endswith(f"| {float(row['epsilon']):.2f} | 1e-05 | 95% |")


def test_what_has_no_canaries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="has no jobs with canaries: sweep over seed"):
        read_sweep(tmp_path)
    monkeypatch.setattr("sys.argv", ["many_run_audit", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
