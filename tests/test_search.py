"""A search goes by attack-train images alone, survives what fails, and ends with its choice."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score

from secmi_exp.configuration.components import Components
from secmi_exp.data.split import Part
from secmi_exp.pipeline import evaluate, identity
from secmi_exp.run_state import Run
from secmi_exp.store import Store
from secmi_exp.testing import compose_config
from tests.support.commands import SMOKE, Command, Finished

SEARCH = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "logger=none", *SMOKE, "trainer.progress_bar=false"]
STAT = ["+attack=stat", "attack.t_max=40"]


@pytest.fixture(scope="module")
def secmi(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command in a folder of its own, where the target is trained once."""
    return Command(tmp_path_factory.mktemp("search"))


def table(search: Finished) -> list[dict[str, str]]:
    with (search.folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def auc_off_the_evaluation_part(job: Path) -> float:
    columns = {name: np.array(values) for name, values in pq.read_table(job / "scores.parquet").to_pydict().items()}
    free = columns["part"] != "evaluation"
    return float(roc_auc_score(columns["is_member"][free], columns["score_stat"][free]))


@pytest.mark.slow
def test_a_search_ends_with_the_job_that_is_best_on_attack_train_images(secmi: Command) -> None:
    search = secmi("-m", *STAT, "attack.t_sec=choice(20,40)", *SEARCH)  # four trials of two: some are tried twice
    assert search.returncode == 0, search.stderr
    rows = table(search)
    validation = [float(row["validation_auc"]) for row in rows]
    assert validation == pytest.approx([auc_off_the_evaluation_part(search.folder / row["job"]) for row in rows])
    best = rows[int(np.argmax(validation))]
    told = f"Best on attack-train images: job {best['job']} (attack.t_sec={best['attack.t_sec']}): validation AUC "
    (line,) = [line for line in search.stdout.splitlines() if line.startswith("Best")]
    assert line.startswith(f"{told}{max(validation):.3f}")
    assert f"on the evaluation part AUC {float(best['auc']):.3f} [" in line
    assert "attacks compared" not in search.stdout
    found = OmegaConf.load(search.folder / "optimization_results.yaml")
    assert found.best_value == pytest.approx(max(validation))
    assert str(found.best_params["attack.t_sec"]) == best["attack.t_sec"]


@pytest.mark.slow
def test_the_same_search_with_more_trials_goes_on_where_the_first_ended(secmi: Command) -> None:
    few, more = (
        secmi("-m", *STAT, "attack.t_sec=range(10,40,10)", *SEARCH, f"hydra.sweeper.n_trials={n}") for n in (3, 5)
    )
    tried = [row["attack.t_sec"] for row in table(more)]
    assert [row["attack.t_sec"] for row in table(few)] == tried[:3]
    assert len(tried) == 5
    assert "Walking" not in more.stderr


@pytest.mark.slow
def test_a_trial_that_fails_costs_no_others_and_is_listed(secmi: Command) -> None:
    search = secmi("-m", *STAT, "attack.t_sec=choice(20,25)", *SEARCH)
    assert search.returncode == 0, search.stderr
    rows = table(search)
    reasons = {row["attack.t_sec"]: row["failure"] for row in rows}
    assert reasons["20"] == ""
    assert reasons["25"].startswith("attack.t_sec=25 is not a multiple")
    assert f"{sum(bool(row['failure']) for row in rows)} of 4 jobs failed:" in search.stdout
    assert "Best on attack-train images: job" in search.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            ["attack.t_sec=choice(25,35)", *STAT],
            "Optuna has ended the search: No trials are completed yet.",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["attack.t_sec=choice(20,40)", *STAT, "hydra.sweeper.direction=up"],
            "Optuna has ended the search: ",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["split.members=choice(32,64)"],
            "A search goes by an attack's AUC, and there is no attack: add +attack=stat",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_search_that_can_give_nothing_ends_in_a_sentence(secmi: Command, arguments: list[str], sentence: str) -> None:
    search = secmi("-m", *arguments, *SEARCH)
    assert search.returncode == 1
    assert f"secmi_exp: {sentence}" in search.stderr
    assert "Traceback" not in search.stderr
    assert "Best" not in search.stdout


def test_who_is_a_member_in_the_evaluation_part_moves_no_validation(tmp_path: Path) -> None:
    config = compose_config("+attack=nn", "logger=none", f"paths.output={tmp_path}", *SMOKE)
    parts, store = Components.from_config(config), Store(tmp_path / "store")
    images = parts.dataset.load(store, progress_bar=False)
    split = parts.split.split(images)
    tracker = parts.make_tracker(identity(config, parts.general, tmp_path))
    run = Run(config, tmp_path, parts, store, images, split, {}, tracker, {}, [], {})
    flipped = replace(run, split=replace(split, is_member=split.is_member ^ split.of_part(Part.EVALUATION)))
    assert parts.attack is not None
    draw = np.random.default_rng(0)
    scores = {name: draw.normal(size=len(split.attacked)) + split.is_member for name in parts.attack.scorers}
    judged, (other, *_) = evaluate(run, parts.attack, scores)[0], evaluate(flipped, parts.attack, scores)
    for name in ("stat", "nn"):
        assert other[name].validation == judged[name].validation
        assert other[name].metrics["auc"] == pytest.approx(1 - (judged[name].metrics["auc"] or 0))
    sizes = {name: each.validation.n_member for name, each in judged.items()}
    assert sizes["stat"] == np.count_nonzero(split.is_member & ~split.of_part(Part.EVALUATION))
    assert sizes["nn"] == np.count_nonzero(split.is_member & split.of_part(Part.CALIBRATION))
