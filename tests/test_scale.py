"""What experiments/scale.md shows is what was kept; jobs on one store share what they make."""

import re
from pathlib import Path

import pytest

from experiments.benchmarks import measure
from experiments.scale import paper, simulation
from tests.support.commands import REPOSITORY

KEPT = REPOSITORY / "experiments/results/scale.json"


def test_the_page_shows_what_was_kept() -> None:
    text = (REPOSITORY / "experiments/scale.md").read_text(encoding="utf-8")
    assert measure.markdown(KEPT) in text
    for machine in set(re.findall(r'"machine": "([^"]+)"', KEPT.read_text(encoding="utf-8"))):
        assert machine in text


def test_rows_on_paper_are_those_of_the_files_that_a_walk_makes() -> None:
    case = paper.Case("", (3, 4, 4), 48, t_sec=100, k=10, flop=1.0)
    assert case.queries == 11
    assert case.row_bytes == {"t_errors": 10 * 4, "error_maps": 48 * 2, "states": 2 * 48 * 4}


@pytest.mark.slow
def test_jobs_that_want_the_same_compute_it_once(tmp_path: Path) -> None:
    figures = {each.what: each for each in simulation.measure_writers("same", simulation.same_entries, 3, 20)}
    assert figures["jobs that have computed something"].median == 1
    assert figures["entries of the folder t_errors"].median == 10
