"""t-errors at a few timesteps alone: fewer steps of the approach, and lower precision where no difference is taken."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.signals import approach
from secmi_exp.attacks.signals.approach import Approach
from secmi_exp.attacks.signals.trajectories import Trajectories, compute_by_approach
from secmi_exp.engine import rows
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.testing import configured, cpu_runtime
from tests.support.query_attacks import ALPHAS, EPS, IMAGES, TARGET, X_0
from tests.support.runs import MEMORIZING, one_run, run_here
from tests.support.walks import IMAGES as WAVES_IMAGES
from tests.support.walks import Killed
from tests.support.walks import target as waves

ALONE = ["+attack=stat", "attack.t_max=null"]


def asked(root: Path, *overrides: str, **settings: Any) -> Measurements:
    with one_run(root) as store:
        runtime = cpu_runtime(**{"query_precision": "64", "query_batch_size": 3} | settings)
        measured: Measurements = configured("attack", *overrides).measure(TARGET, IMAGES, store, runtime)
        return measured


def moved(x: Tensor, eps: Tensor, t: int, u: int) -> Tensor:
    """A DDIM step as the paper writes it."""
    x_0 = (x - (1 - ALPHAS[t]) ** 0.5 * eps) / ALPHAS[t] ** 0.5
    return ALPHAS[u] ** 0.5 * x_0 + (1 - ALPHAS[u]) ** 0.5 * eps


@torch.no_grad()
def t_error(way: list[int]) -> np.ndarray:
    """φ along a way, and ψ back from its last timestep to the one before."""
    x = X_0
    for t, u in pairwise(way[:-1]):
        x = moved(x, EPS(x, t), t, u)
    t, u = way[-2:]
    up = moved(x, EPS(x, t), t, u)
    error: np.ndarray = (moved(up, EPS(up, u), u, t) - x).square().flatten(1).sum(dim=1).numpy()
    return error


@pytest.mark.parametrize(
    ("overrides", "way"),
    [
        (["attack.t_sec=50", "attack.approach_k=40"], [0, 40, 50]),
        (["attack.t_sec=100", "attack.approach_k=30"], [0, 30, 60, 90, 100]),
        (["attack.t_sec=100", "attack.approach_k=40"], [0, 40, 80, 90, 100]),
        (["attack.t_sec=100", "attack.k=20", "attack.approach_k=200"], [0, 80, 100]),
        (["attack.t_sec=60", "attack.k=20"], [0, 20, 40, 60]),
        (["attack.t_sec=20", "attack.k=20", "attack.approach_k=30"], [0, 20]),
    ],
)
def test_the_t_error_is_that_of_the_way_and_a_query_a_stop(
    tmp_path: Path, overrides: list[str], way: list[int]
) -> None:
    found = asked(tmp_path, *ALONE, *overrides)
    np.testing.assert_allclose(found.numbers["t_error"], t_error(way), rtol=1e-6)
    assert found.queries_per_sample == len(way)
    assert found.queries_spent == len(way) * len(IMAGES)
    assert asked(tmp_path, *ALONE, *overrides).queries_spent == 0


def test_without_an_approach_of_its_own_one_t_sec_is_found_on_the_walk(tmp_path: Path) -> None:
    walked = asked(tmp_path, "+attack=stat", "attack.t_sec=50")
    alone = asked(tmp_path, *ALONE, "attack.t_sec=50")
    assert alone.queries_spent == 0
    assert alone.key == walked.key
    assert np.array_equal(alone.numbers["t_error"], walked.numbers["t_error"])


@pytest.fixture
def walk_in_32(tmp_path: Path) -> Measurements:
    return asked(tmp_path / "32", "+attack=stat", "attack.t_sec=100", query_precision="32")


def test_what_is_compared_keeps_its_precision(tmp_path: Path, walk_in_32: Measurements) -> None:
    low = asked(tmp_path, *ALONE, "attack.t_sec=100", query_precision="32", approach_precision="bf16")
    throughout = asked(tmp_path, *ALONE, "attack.t_sec=100", query_precision="bf16")
    exact = walk_in_32.numbers["t_error"]
    drift, drift_throughout = (np.abs(each.numbers["t_error"] / exact - 1) for each in (low, throughout))
    assert 0 < drift.max() < 0.01  # the approach was in bfloat16, the difference was not
    assert np.median(drift) < np.median(drift_throughout) / 5
    assert low.queries_per_sample == walk_in_32.queries_per_sample == 11
    assert low.key != walk_in_32.key
    assert low.facts["approach"] == {"k": 10, "precision": "bf16"}
    assert "approach" not in walk_in_32.facts


def test_the_same_precision_is_the_walk_to_the_bit(tmp_path: Path, walk_in_32: Measurements) -> None:
    same = asked(tmp_path, *ALONE, "attack.t_sec=100", query_precision="32", approach_precision="32")
    assert same.key == walk_in_32.key
    assert np.array_equal(same.numbers["t_error"], walk_in_32.numbers["t_error"])


def auto(native: bool, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Runtime:
    monkeypatch.setattr(approach, "has_bfloat16", lambda runtime: native)
    return cpu_runtime(**{"approach_precision": "auto"} | settings)


@pytest.mark.parametrize(
    ("native", "compared", "k", "query", "chosen"),
    [
        (True, [100], 10, "32", Approach(10, "bf16")),
        (False, [100], 10, "32", None),
        (True, [100], 10, "64", None),
        (True, [100], 10, "16", None),
        (True, [80, 100], 10, "32", None),  # two ways in bfloat16 take longer than one walk
        (True, [20, 200], 10, "32", Approach(10, "bf16")),
        (True, [100], 30, "32", Approach(30, "bf16")),
        (False, [100], 30, "32", Approach(30, "32")),
        (True, [10], 30, "32", Approach(30, "32")),  # nothing but what is compared
    ],
)
def test_auto_takes_bfloat16_where_it_is_native_and_repays(
    native: bool, compared: list[int], k: int, query: str, chosen: Approach | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = auto(native, monkeypatch, query_precision=query)
    assert approach.choose_approach(k, 10, compared, runtime) == chosen


def test_where_every_state_is_compared_low_precision_changes_nothing_and_says_so(
    tmp_path: Path, walk_in_32: Measurements, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    low = asked(tmp_path, "+attack=stat", "attack.t_sec=100", query_precision="32", approach_precision="bf16")
    assert np.array_equal(low.numbers["t_error"], walk_in_32.numbers["t_error"])
    assert "trainer.approach_precision=bf16 changes nothing" in caplog.text
    assert "attack.t_max=null" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["attack.t_max=100"], "attack.t_max=100 takes the t-errors of them all: set attack.t_max=null"),
        (
            ["attack.stacked=[20,30,40,50,60]"],
            "takes 19 queries an image for the t-errors at 6 .* one walk .* takes 11",
        ),
        (["attack.maps=all"], "attack.maps="),
    ],
)
def test_an_approach_that_saves_nothing_is_refused(overrides: list[str], said: str) -> None:
    attack = configured("attack", *ALONE, "attack.t_sec=100", "attack.approach_k=50", *overrides)
    with pytest.raises(UserError, match=said):
        attack.check(TARGET.load().path.timesteps)


def test_maps_and_further_timesteps_are_approached_each_by_itself(tmp_path: Path) -> None:
    overrides = ["attack.t_sec=100", "attack.approach_k=90"]
    both = asked(tmp_path / "both", "+attack=nn", "attack.t_max=null", "attack.stacked=[50]", *overrides)
    assert both.queries_per_sample == 6  # 0, 40, 50 and 0, 90, 100
    assert both.facts["trajectory"] == {"timesteps": [50, 100], "queries_per_sample": [3, 6]}
    one = asked(tmp_path, "+attack=nn", "attack.t_max=null", "attack.stacked=[]", *overrides)
    assert one.queries_per_sample == 3
    assert np.array_equal(one.numbers["t_error"], both.numbers["t_error"])
    maps, stacked = one.values["error_map"][:], both.values["error_map"][:]
    assert np.array_equal(maps[:, 0], stacked[:, 1])
    np.testing.assert_allclose(np.square(maps.astype(float)).sum(axis=(1, 2, 3)), one.numbers["t_error"], rtol=2e-3)


def test_a_killed_approach_continues_with_the_batches_that_are_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "SAVE_EVERY_S", -1.0)

    def approached(root: Path, fails_after: float = np.inf) -> Trajectories:
        runtime = cpu_runtime(query_batch_size=4)
        with one_run(root) as store:
            return compute_by_approach(
                waves(fails_after), WAVES_IMAGES, k=10, compared=[50], approach=Approach(20, "32"), maps=[],
                store=store, runtime=runtime,
            )  # fmt: skip

    whole = approached(tmp_path / "whole")
    assert whole.queries == [4]
    with pytest.raises(Killed):
        approached(tmp_path, fails_after=10)  # within the third batch of four predictions each
    continued = approached(tmp_path)
    assert np.array_equal(continued.t_errors, whole.t_errors)
    assert continued.queries_spent == (16 + 16 + 9) + 4 * 7  # the first batch alone had been written


def test_a_run_says_how_its_states_were_reached(tmp_path: Path) -> None:
    overrides = ["attack.t_sec=60", "attack.approach_k=50", "trainer.approach_precision=bf16"]
    folder = run_here(tmp_path, *ALONE, *overrides, base=MEMORIZING)
    results = json.loads((folder / "results.json").read_text())
    assert results["approach"] == {"k": 50, "precision": "bf16"}
    assert results["queries_per_sample"] == 3
    assert results["metrics"]["auc"] > 0.9
    assert (folder / "t_errors.png").is_file()
    assert not (folder / "relative_t_error.png").exists()  # a curve of one point
