"""Files of strangers end in a right result or in one sentence: no traceback, no hang, no memory without bound.

Each kind of file that is read is damaged in each way (`tests/data/foreign_files.py`), and there are files that somebody
has made on purpose (`tests/data/hostile_cases.py`).
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import datasets
import pytest

from tests.data.foreign_files import DAMAGES, KINDS, Kind, case_of
from tests.data.hostile_cases import CASES, LARGE
from tests.hostile import Limits, Outcome, count, run_case, run_together

LIMITS = Limits(seconds=60, mib=250)
"""Of one case; most take a tenth of a second, and some thirty MiB for what is imported first."""
SAMPLED = 37
"""One in so many of the damaged files is tried in the default suite."""

Case = Callable[[], object]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    datasets.enable_progress_bars()


def damaged(folder: Path, kind: Kind, damage: str) -> Case:
    """A case of one kind and one damage."""
    place = folder / kind.name.replace("*", "")
    return case_of(kind, DAMAGES[damage], place / "made", place / damage)


def made(folder: Path, names: list[str]) -> dict[str, Case]:
    """The cases that somebody has made on purpose."""
    cases = {}
    for number, name in enumerate(names):
        (folder / str(number)).mkdir(parents=True)
        cases[name] = CASES[name](folder / str(number))
    return cases


def faults(cases: Mapping[str, Case]) -> tuple[list[Outcome], str]:
    """What came of each case alone, and the faults in words."""
    outcomes = {name: run_case(case, LIMITS) for name, case in cases.items()}
    told = [f"{name}: {outcome.ended}: {outcome.told}" for name, outcome in outcomes.items() if not outcome.good]
    return list(outcomes.values()), "\n".join(told)


def test_files_made_to_be_hostile_end_in_a_result_or_a_sentence(tmp_path: Path) -> None:
    cases = made(tmp_path, [name for name in CASES if name not in LARGE])
    outcome = run_together(cases, LIMITS)
    assert outcome.good, outcome.told


def test_a_sample_of_damaged_files_ends_in_a_result_or_a_sentence(tmp_path: Path) -> None:
    every = [(kind, damage) for kind in KINDS for damage in DAMAGES]
    cases = {f"{kind.name}: {damage}": damaged(tmp_path, kind, damage) for kind, damage in every[::SAMPLED]}
    outcome = run_together(cases, LIMITS)
    assert outcome.good, outcome.told


@pytest.mark.slow
def test_every_file_made_to_be_hostile_alone(tmp_path: Path) -> None:
    outcomes, told = faults(made(tmp_path, list(CASES)))
    print("made on purpose:", count(outcomes))
    assert not told, told


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_damage_to_every_kind_of_file_alone(tmp_path: Path, kind: Kind) -> None:
    cases = {damage: damaged(tmp_path, kind, damage) for damage in DAMAGES}
    cases["whole"]()  # imports what each of the others would import
    outcomes, told = faults(cases)
    print(f"{kind.name}:", count(outcomes))
    assert not told, told
