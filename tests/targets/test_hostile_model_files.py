"""Models as strangers might publish them end in a result or in one sentence: no traceback, no hang, no code, no memory.

`OMP_NUM_THREADS=1 python -m tests.targets.test_hostile_model_files [FORMAT…]` tries all cases, and counts their ends.
"""

import gc
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.hostile import Limits, Outcome, count, run_case
from tests.targets.hostile_model_files import FORMATS, WEIGHTS, Case, hostile_cases, try_case

LIMITS = Limits(seconds=20, mib=400)

QUICK = {
    "diffusers": (
        "unet/config.json: layers_per_block = 1e6", "scheduler/scheduler_config.json: num_train_timesteps = 1e13",
        f"unet/{WEIGHTS}: an endless header",
    ),
    "store": ("entry.json: files = many",),
    "authors": ("ckpt.pt: a compressed archive", "flagfile.txt: a pipe"),
}  # fmt: skip
"""Format → cases of the default suite: those that would have failed, hung or taken memory."""


def model(kind: str, folder: Path) -> Path:
    """A model as it should be."""
    folder = folder / kind
    folder.mkdir()
    FORMATS[kind].save(folder)
    return folder


def outcomes(cases: Iterable[Case], folder: Path) -> Iterator[tuple[Case, Outcome]]:
    """How they end, each in a process of its own."""
    gc.collect()
    gc.freeze()  # so that no fork goes through, and copies, what this process has
    for case in cases:
        yield case, run_case(try_case(case, folder), LIMITS)


def faults(found: Iterable[tuple[Case, Outcome]]) -> list[str]:
    return [f"{case} → {outcome.ended}: {outcome.told}" for case, outcome in found if not outcome.good]


@pytest.mark.parametrize("kind", QUICK)
def test_a_few_of_each_format_end_in_a_result_or_a_sentence(kind: str, tmp_path: Path) -> None:
    folder = model(kind, tmp_path)
    wanted = {f"{kind}/{what}" for what in QUICK[kind]}
    cases = [case for case in hostile_cases(kind, folder) if str(case) in wanted]
    assert {str(case) for case in cases} == wanted
    found = faults(outcomes(cases, folder))
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_all_of_each_format_end_in_a_result_or_a_sentence(kind: str, tmp_path: Path) -> None:
    folder = model(kind, tmp_path)
    assert "[" in try_case(Case(kind, "", "nothing", lambda folder: None), folder)()
    found = faults(outcomes(hostile_cases(kind, folder), folder))
    assert not found, "\n".join(found)


if __name__ == "__main__":
    with TemporaryDirectory() as root:
        for name in sys.argv[1:] or FORMATS:
            whole = model(name, Path(root))
            ended = [*outcomes(hostile_cases(name, whole), whole)]
            print(name, count(outcome for _, outcome in ended))
            print(*faults(ended), sep="\n")
