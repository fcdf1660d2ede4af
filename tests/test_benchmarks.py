"""The benchmarks run, at their smallest, and what experiments/README.md shows is what they kept."""

import math
import re
from pathlib import Path

import pytest
import torch

from experiments.benchmarks import (
    attacks,
    large_targets,
    latent_memory,
    measure,
    memory,
    overhead,
    precision,
    queries,
    startup,
    training,
)
from experiments.benchmarks.measure import Figure
from tests.support.commands import REPOSITORY

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "MEMBERS", 16)
    for module in (large_targets, overhead, precision, startup, training):
        monkeypatch.setattr(module, "ROUNDS", 1)


def by_name(figures: list[Figure]) -> dict[str, float]:
    return {figure.what: figure.median for figure in figures}


@pytest.mark.slow
def test_a_sweep_makes_31_queries_an_image_where_the_published_procedure_makes_495() -> None:
    figures = by_name(queries.benchmark(CPU, "small", 3, 300, sweep=True, rounds=1))
    assert figures["published: queries an image"] == 495
    assert figures["secmi_exp: queries an image"] == 31
    assert figures["published / secmi_exp"] > 1


@pytest.mark.slow
def test_a_single_timestep_makes_as_many_queries_as_the_published_procedure() -> None:
    figures = by_name(queries.benchmark(CPU, "small", 3, 100, sweep=False, rounds=1))
    assert figures["published: queries an image"] == figures["secmi_exp: queries an image"] == 11


@pytest.mark.slow
@pytest.mark.parametrize("name", attacks.FORMULAS)
def test_an_attack_makes_the_queries_of_its_formula_and_gives_its_values(name: str) -> None:
    """Both are compared before a time is taken; it is the comparison that is tested."""
    figures = by_name(attacks.compared(name, CPU, 4, rounds=1))
    assert figures["both: queries an image"] > 0
    assert figures["plain loop / secmi_exp"] > 0


@pytest.mark.slow
def test_samples_are_those_of_a_plain_loop() -> None:
    assert by_name(attacks.compared_samples(CPU, 80, rounds=1))["plain loop / secmi_exp"] > 0


@pytest.mark.slow
def test_one_timestep_alone_is_had_with_fewer_queries_in_longer_steps() -> None:
    figures = by_name(queries.approach(CPU, "small", 3, 100, rounds=1))
    asked = [value for name, value in figures.items() if name.endswith("queries an image")]
    assert asked == [11, 5]


@pytest.mark.slow
def test_training_memory_overhead_and_precision_are_measured(tmp_path: Path) -> None:
    measured = [
        *training.benchmark(CPU, "small", 8, 2),
        *memory.benchmark(CPU, (300,)),
        *latent_memory.benchmark(CPU, (4,), side=64),
        *overhead.benchmark(CPU, 50, 1, "small"),
        *precision.drift(CPU, tmp_path, "target.max_steps=2"),
        *precision.throughput(CPU, 2, "small", compiled=(False,)),
    ]
    assert all(math.isfinite(figure.median) and figure.median > 0 for figure in measured)
    figures = by_name(measured)
    assert figures["300 images of 3×32×32, 30 timesteps: peak above the imports"] < 1.5
    assert "secmi_exp / plain loop" in figures
    assert any(name.startswith("query_precision=16") for name in figures)


@pytest.mark.slow
def test_large_targets_are_recognised_swept_and_loaded() -> None:
    figures = by_name(large_targets.benchmark(CPU, stored=0.07, swept=0.02, jobs=2))
    assert len(figures) == 5
    assert figures["target of 0.02 GB, from an earlier job"] < figures["target of 0.02 GB, from its files"]


def test_a_figure_is_the_median_and_the_range_of_its_rounds() -> None:
    assert Figure.of("b", "w", [3.0, 1.0, 10.0], "s") == Figure("b", "w", 3.0, 1.0, 10.0, "s")


@pytest.mark.slow
def test_start_up_is_measured() -> None:
    figures = by_name(startup.benchmark(CPU))
    assert figures["end of --help"] < figures["end of a stored run"] < figures["first training step"]


@pytest.mark.parametrize("file", sorted((REPOSITORY / "experiments/results").glob("benchmarks_*.json")), ids=str)
def test_the_table_shows_what_was_kept(file: Path) -> None:
    text = (REPOSITORY / "experiments/README.md").read_text(encoding="utf-8")
    assert measure.markdown(file) in text
    for machine in set(re.findall(r'"machine": "([^"]+)"', file.read_text(encoding="utf-8"))):
        assert machine in text
