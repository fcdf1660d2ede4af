"""The classifier of an attack's features."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.feature_classifier import FeatureClassifier
from secmi_exp.attacks.scorers.scorer import Fitting
from secmi_exp.store.manifest import read_manifest
from secmi_exp.testing import cpu_runtime, no_logger
from tests.support.runs import MEMORIZING, run_here

N = 200
IS_MEMBER = np.arange(N) % 2 == 0
FITTED, FRESH = np.arange(N // 2), np.arange(N // 2, N)


def measured(*columns: np.ndarray) -> Measurements:
    return Measurements({"features": np.stack(columns, axis=1)}, 1, 0, "")


def scores(given: Measurements, *, logarithm: bool = True) -> np.ndarray:
    scorer = FeatureClassifier("linear", logarithm=logarithm, C=1.0, seed=0)
    return scorer.fit_and_score(given, Fitting(FITTED, IS_MEMBER[FITTED], Path(), cpu_runtime(), no_logger))


def chosen(given: Measurements, *, logarithm: bool = True) -> object:
    return FeatureClassifier("linear", logarithm=logarithm, C=1.0, seed=0).chosen_by(given)


@pytest.fixture
def errors() -> np.ndarray:
    """Positive, and no different on members."""
    return np.exp(np.random.default_rng(0).normal(0, 2, N))


@pytest.mark.parametrize("side", ["fitted", "fresh", "both"])
def test_a_value_with_a_sign_tells_what_it_tells_beside_logarithms(
    errors: np.ndarray, side: Literal["fitted", "fresh", "both"]
) -> None:
    """Wherever it is negative: also where that is among the judged images alone."""
    raised = {"fitted": np.arange(N) >= N // 2, "fresh": np.arange(N) < N // 2, "both": np.zeros(N, dtype=bool)}[side]
    noise = np.random.default_rng(1).normal(0, 0.2, N)
    log_odds = np.where(IS_MEMBER, -1.0, -2.0) + np.where(raised, 5.0, 0.0) + noise
    given = measured(errors, log_odds)
    assert chosen(given) == {"signed": [1]}
    assert roc_auc_score(IS_MEMBER[FRESH], scores(given)[FRESH]) > 0.95
    np.testing.assert_array_equal(scores(given), scores(measured(np.log(errors), log_odds), logarithm=False))


def test_positive_values_are_taken_by_their_logarithm_and_named_as_before(errors: np.ndarray) -> None:
    errors[3] = 0.0
    given = measured(errors, errors[::-1])
    logarithms = np.log(np.maximum(errors, np.finfo(np.float64).tiny))
    np.testing.assert_array_equal(scores(given), scores(measured(logarithms, logarithms[::-1]), logarithm=False))
    assert chosen(given) == chosen(measured(errors, -errors), logarithm=False) == {}


def test_scores_of_values_with_a_sign_are_not_those_of_versions_that_took_their_logarithm(tmp_path: Path) -> None:
    others = [f"~attack.parts.{name}" for name in ("secmi", "losses", "pia", "pian", "sima")]
    pfami = ["+attack@attack.parts.pfami=pfami", "attack.parts.pfami.timesteps=[300]", "attack.parts.loss.noises=1"]
    run_here(tmp_path, "+attack=cdi", *others, *pfami, "evaluation.blind=false", base=MEMORIZING)
    (entry,) = tmp_path.glob("store/scores/*")
    assert read_manifest(entry).key.config["signed"] == [1]
