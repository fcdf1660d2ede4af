"""A kill at any moment costs the next run nothing but what was in flight, and leaves nothing behind."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from secmi_exp.attacks.signals.trajectories import compute_trajectories
from secmi_exp.data import decoding
from secmi_exp.data.samples import ArraySamples
from secmi_exp.engine import rows
from secmi_exp.split_checks.split_check import check_split
from secmi_exp.store import Key, Store
from secmi_exp.testing import cpu_runtime
from tests.kills.forks import Ended, count_queries, in_fork
from tests.kills.operations import Operation, announce_writers_in_c
from tests.kills.trials import Left, kill_everywhere, store_files
from tests.support.decoded import SMALL
from tests.support.gradient_descent import MEMBERS, recipe
from tests.support.runs import one_run
from tests.support.walks import IMAGES, N, target

STORE = Path("outputs/store")
IMPORTED = [
    "pandas", "secmi_exp.attacks.signals.walk", "secmi_exp.engine.checkpoint_files",
    "secmi_exp.data.decoding_processes",
    "sklearn.compose", "sklearn.linear_model", "sklearn.model_selection", "sklearn.pipeline", "sklearn.preprocessing",
]  # fmt: skip
"""By stages when they begin; here once for all forks."""
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smoke", "pia", "gan_leaks", "latent", "extension"])
def test_a_command_that_is_killed_anywhere_continues_to_the_undisturbed_result(name: str) -> None:
    command = [sys.executable, "-m", "tests.kills", name]
    finished = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert report["kills"] > report["operations"] > 30
    assert [report[kind] for kind in ("tracebacks", "hangs", "differences", "repeated")] == [[], [], [], []]


def images() -> None:
    samples = ArraySamples("made", "made", lambda: PIXELS)
    build = partial(decoding.decode, samples, SMALL, skip_unreadable=False, progress_bar=False)
    Store(STORE).get_or_build(Key("images", 1, {}, files=decoding.FILES), build)


SMALL_RECIPE = recipe(
    "target.max_steps=2", "target.checkpoint_every=1", "target.sample_every=2", "target.batch_size=4",
    "target.network.block_out_channels=[8,8]", "target.schedule.num_train_timesteps=3",
)  # fmt: skip


def trained() -> None:
    SMALL_RECIPE.prepare(MEMBERS, Store(STORE), cpu_runtime(), lambda: None)


def blind() -> None:
    is_member = np.arange(N) % 2 == 0
    check_split(IMAGES, is_member, 0, Store(STORE), {}, None)


def walked(t_max: int) -> None:
    with one_run(STORE) as store:
        signals = compute_trajectories(
            target(), IMAGES, k=10, t_max=t_max, maps=[t_max], store=store, runtime=cpu_runtime(query_batch_size=4)
        )
        Path("told").write_text(str(signals.queries_spent))


def left(ended: Ended, folder: Path) -> Left:
    """Of a stage."""
    told = folder / "told"
    return Left("", None, int(told.read_text()) if told.exists() else 0, store_files(folder))


def prepared(main: Callable[[], None]) -> None:
    torch.set_num_threads(1)  # what other tests have started isn't there in a fork
    announce_writers_in_c()
    count_queries()
    rows.SAVE_EVERY_S = decoding.SAVE_EVERY_S = -1.0
    main()


STAGES: dict[str, Callable[[], None]] = {
    "images": images,
    "target": trained,
    "blind": blind,
    "t_errors": partial(walked, 10),
}


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    for name in IMPORTED:
        importlib.import_module(name)


def is_in_the_making(operation: Operation, moment: str) -> bool:
    """Whether a manifest is there by halves, or whole but not in its place."""
    kind = (operation.event, moment)
    return "entry.json.partial" in operation.path and kind in (("open", "within"), ("os.rename", "before"))


@pytest.mark.parametrize(
    "stage", [each if each == "images" else pytest.param(each, marks=pytest.mark.slow) for each in STAGES]
)
def test_a_kill_while_a_manifest_is_written_costs_nothing(stage: str, tmp_path: Path) -> None:
    report = kill_everywhere(
        partial(prepared, STAGES[stage]), None, tmp_path, only=is_in_the_making, left=left, share_in_flight=0.0
    )
    assert report.kills >= 2
    assert report.faults == []


def has_committed(operation: Operation, moment: str) -> bool:
    """Whether an entry has just been put in its place, or taken out of it."""
    name = operation.path.partition(" → ")[0].rpartition("/")[2]
    return operation.event == "os.rename" and moment == "after" and "." not in name


@pytest.mark.slow
def test_a_longer_walk_that_is_killed_costs_at_most_the_queries_that_it_lacks(tmp_path: Path) -> None:
    """The state that it starts from goes when all is done, and the one that it ends at comes before the t-errors."""
    assert in_fork(partial(prepared, partial(walked, 20)), tmp_path / "start").status == 0
    report = kill_everywhere(
        partial(prepared, partial(walked, 40)), tmp_path / "start", tmp_path, only=has_committed, left=left,
        share_in_flight=0.0,
    )  # fmt: skip
    assert report.queries == 2 * N
    assert report.kills == 5  # the state's entry, those of two t-errors and a map, and the old state's removal
    assert report.faults == []
