"""Attacks that are functions: their values, what decides their keys, and mistakes in their settings."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import PositiveInt
from torch import Tensor

from secmi_exp.attacks.function_attack import FunctionAttack
from secmi_exp.attacks.scorers.column import Column
from secmi_exp.attacks.signals.query_batch import QueryBatch, Timestep, norm
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.errors import UserError
from secmi_exp.store import Store
from secmi_exp.testing import cpu_runtime, small_target
from tests.support.query_attacks import EPS, IMAGES, X_0, N
from tests.support.runs import one_run

TARGET = small_target()

ELSEWHERE = """
from secmi_exp.attacks.signals.query_batch import norm

def twice(batch, *, t: int):
    return {"size": 2 * norm(batch.predict_noise(batch.x_0, t), 2)}
"""


def sizes(batch: QueryBatch, *, t: Timestep, later: list[Timestep], p: PositiveInt = 2) -> dict[str, Tensor]:
    """‖ε_θ(x_0, t)‖_p at several timesteps."""
    return {f"size_{each}": norm(batch.predict_noise(batch.x_0, each), p) for each in (t, *later)}


def function_attack(function: str = f"{__name__}.sizes", value: str = "size_5", **settings: Any) -> FunctionAttack:
    scorers = {"f": Column(value, "less")}
    return FunctionAttack(name="f", scorers=scorers, function=function, settings=settings)  # type: ignore[arg-type]


def test_the_values_are_the_functions_and_its_queries_are_counted(tmp_path: Path) -> None:
    found = function_attack(t=5, later=[7]).measure(TARGET, IMAGES, Store(tmp_path), cpu_runtime(query_precision="64"))
    assert found.queries_spent == 2 * N
    assert found.queries_per_sample == 2
    for t in (5, 7):
        expected = EPS(X_0, t).flatten(1).norm(dim=1).detach()
        np.testing.assert_allclose(found.numbers[f"size_{t}"], expected.numpy(), rtol=1e-9)
    assert found.last_timestep == 7
    other = function_attack(t=5, later=[7], p=1).measure(
        TARGET, IMAGES, Store(tmp_path), cpu_runtime(query_precision="64")
    )
    assert other.key != found.key


def test_the_source_of_the_function_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "function_from_elsewhere.py"
    found = []
    for factor in (2, 3, 3):
        file.write_text(ELSEWHERE.replace("2 *", f"{factor} *"), encoding="utf-8")
        importlib.invalidate_caches()
        sys.modules.pop(file.stem, None)
        attack = function_attack(f"{file.stem}.twice", "size", t=5)
        with one_run(tmp_path / "store") as store:
            found.append(attack.measure(TARGET, IMAGES, store, cpu_runtime(query_precision="64")))
    assert [each.queries_spent for each in found] == [N, N, 0]
    np.testing.assert_allclose(found[1].numbers["size"] * 2, found[0].numbers["size"] * 3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"t": 5, "later": [], "p": 0}, r"attack\.settings\.p=0 can't be used: input should be greater than 0\."),
        ({"t": 5, "later": [], "q": 1}, r"attack\.settings\.q=1 can't be used: nothing reads a setting of this name"),
        ({"later": []}, r"attack\.settings\.t has been left out"),
        ({"t": 5, "later": [-1]}, r"attack\.settings\.later\.0=-1 can't be used"),
    ],
)
def test_settings_are_validated_against_the_functions_parameters(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        function_attack(**settings)


def nothing(batch: QueryBatch) -> dict[str, Tensor]:
    return {}


def bare(batch: QueryBatch) -> Tensor:
    return batch.x_0


def maps(batch: QueryBatch) -> dict[str, Tensor]:
    return {"map": batch.x_0}


def numbers(batch: QueryBatch) -> dict[str, float]:
    return {"size": 3.0}


def without_batch(*, t: int = 3) -> dict[str, Tensor]:
    return {}


def anything(batch: QueryBatch, **settings: int) -> dict[str, Tensor]:
    return {}


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        ("nothing", r"must return a dictionary.* and has returned \{\}\."),
        ("bare", r"must return a dictionary.* and has returned 'a tensor of shape \[1, 3, 8, 8\]'\."),
        ("maps", r"must return a dictionary.* and has returned \{'map': 'a tensor of shape \[1, 3, 8, 8\]'\}\."),
        ("numbers", r"must return a dictionary.* and has returned \{'size': 3\.0\}\."),
        ("without_batch", r"takes no batch: its first parameter must be a QueryBatch\."),
        ("anything", r"takes \*\*settings: int: name each setting as a parameter\."),
    ],
)
def test_a_function_that_is_no_attack_is_refused_before_the_target_is_queried(function: str, sentence: str) -> None:
    with pytest.raises(UserError, match=rf"attack\.function={__name__}\.{function} {sentence}"):
        function_attack(f"{__name__}.{function}").check(Timesteps(300, 299, 299))


@pytest.mark.parametrize(("settings", "key"), [({"t": 300, "later": []}, "t"), ({"t": 5, "later": [300]}, "later")])
def test_timesteps_are_compared_with_the_schedule(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=rf"attack\.settings\.{key}=300 exceeds the last timestep"):
        function_attack(**settings).check(Timesteps(300, 299, 299))


def test_a_scorer_of_a_value_that_the_function_does_not_return_is_refused() -> None:
    with pytest.raises(UserError, match=r"none of the numbers that this attack measures: size_5\."):
        function_attack(value="other", t=5, later=[]).check(Timesteps(300, 299, 299))
