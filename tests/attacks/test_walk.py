"""Walks through the store: no query is made twice, whatever the order of requests, kills, and numbers of ranks."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secmi_exp.attacks.signals.trajectories import compute_trajectories
from secmi_exp.data.images import Images
from secmi_exp.data.slices import slices
from secmi_exp.diffusion.trajectory import begin
from secmi_exp.diffusion.trajectory import walk as walk_states
from secmi_exp.engine import batch_size, rows
from secmi_exp.engine.row_journal import read_journal
from secmi_exp.files.arrays import RowFile, create_array
from secmi_exp.store import Store
from secmi_exp.testing import cpu_runtime
from tests.support.walks import IMAGES, MADE_IN_12, Killed, N, Waves, same, signals, target


def test_what_is_stored_is_what_a_plain_walk_gives(tmp_path: Path) -> None:
    stored = signals(tmp_path, 50, maps=[30])
    predictor = Waves(0)
    with torch.inference_mode():
        x_0 = predictor.encode(torch.from_numpy(IMAGES[:]))
        state = begin(predictor.predict_noise, x_0)
        steps = list(walk_states(predictor.predict_noise, state, predictor.path, 10, 50))
    for column, step in enumerate(steps):
        np.testing.assert_allclose(stored.t_errors[:, column], step.t_error().numpy(), rtol=1e-5)
    np.testing.assert_allclose(stored.maps[30], steps[2].error_map().numpy(), rtol=1e-3, atol=1e-6)
    assert stored.queries == [2, 3, 4, 5, 6]
    assert stored.queries_spent == 6 * N


def test_a_longer_trajectory_extends_the_stored_one(tmp_path: Path) -> None:
    whole = signals(tmp_path / "whole", 90, maps=[60])
    assert signals(tmp_path, 30).queries_spent == 4 * N
    extended = signals(tmp_path, 90, maps=[60])
    assert extended.queries_spent == 6 * N
    same(extended, whole)
    assert len([*tmp_path.glob("states/*")]) == 1  # the one at 90: nobody goes on from 30 any more
    assert signals(tmp_path, 50).queries_spent == 0


def test_a_trajectory_that_grows_a_step_at_a_time_spends_no_query_twice(tmp_path: Path) -> None:
    spent = sum(signals(tmp_path, t_max).queries_spent for t_max in range(10, 100, 10))
    assert spent == 10 * N
    same(signals(tmp_path, 90), signals(tmp_path / "whole", 90))


def test_maps_asked_for_later_are_walked_to_and_no_further(tmp_path: Path) -> None:
    signals(tmp_path, 90)
    later = signals(tmp_path, 90, maps=[20])
    assert later.queries_spent == 3 * N
    same(later, signals(tmp_path / "at_once", 90, maps=[20]))


@pytest.mark.parametrize("size", [4, 3])
def test_a_killed_walk_continues_with_the_rows_that_are_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(rows, "SAVE_EVERY_S", -1.0)
    with pytest.raises(Killed):
        signals(tmp_path, 40, maps=[40], fails_after=12)  # within the third batch of five queries each
    (note,) = tmp_path.glob("work/error_maps-*/scratch/rows-0.txt")
    (batch,) = read_journal(note.parent.parent)
    assert (batch.rows, batch.queries) == (slice(0, 4), 5)  # the second batch was still on its way
    note.write_bytes(batch.line + batch.line.replace(b"[0, 4", b"[4, 8")[:-4])  # as a kill cuts it
    continued = signals(tmp_path, 40, maps=[40], size=size)
    done_before = (4 // size) * size
    assert continued.queries_spent == MADE_IN_12 + 5 * (N - done_before)
    whole = signals(tmp_path / "whole", 40, maps=[40])
    if size == 4:
        same(continued, whole)
    np.testing.assert_allclose(continued.t_errors, whole.t_errors, rtol=1e-5)


def test_a_kill_while_files_are_made_leaves_none_by_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, made = create_array, []

    def killed(file: Path, *arguments: object) -> None:
        made.append(file)
        if len(made) == 3:
            file.write_bytes(b"half a header")
            raise Killed
        whole(file, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rows, "create_array", killed)
    with pytest.raises(Killed):
        signals(tmp_path, 40, maps=[40])
    monkeypatch.setattr(rows, "create_array", whole)
    same(signals(tmp_path, 40, maps=[40]), signals(tmp_path / "whole", 40, maps=[40]))


def test_a_longer_walk_after_a_killed_one_starts_the_rows_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SAVE_EVERY_S", -1.0)
    with pytest.raises(Killed):
        signals(tmp_path, 40, fails_after=12)
    longer = signals(tmp_path, 60)
    assert longer.queries_spent == MADE_IN_12 + 7 * N
    same(longer, signals(tmp_path / "whole", 60))


def test_rows_in_place_keep_to_their_place(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((5, 2), np.float16))
    file = RowFile(tmp_path / "rows.npy")
    file.write(3, np.ones((2, 2), np.float32).T)
    file.flush()
    file.close()
    assert np.load(tmp_path / "rows.npy").tolist() == [[0, 0]] * 3 + [[1, 1]] * 2


@pytest.mark.parametrize("precision", ["64", "bf16", "16"])
def test_states_stay_in_float32_or_better_in_every_precision(tmp_path: Path, precision: str) -> None:
    runtime = cpu_runtime(query_precision=precision)
    walked = compute_trajectories(target(), IMAGES, k=10, t_max=40, maps=[], store=Store(tmp_path), runtime=runtime)
    exact = signals(tmp_path, 40)
    np.testing.assert_allclose(walked.t_errors, exact.t_errors, rtol=1e-4 if precision == "64" else 0.1)
    states = {np.load(file).dtype for file in tmp_path.glob("states/*/*.npy")}
    assert states == ({np.dtype(np.float32), np.dtype(np.float64)} if precision == "64" else {np.dtype(np.float32)})
    assert walked.key != exact.key


class Walker(nn.Module):
    """Takes batches up to a size; an image is faster in larger ones, up to another size."""

    gradients = False

    def __init__(self, fits: int, gains_until: int, clock: list[float]):
        super().__init__()
        self.fits, self.gains_until, self.clock = fits, gains_until, clock

    def predict_step(self, batch: tuple[Tensor, ...]) -> None:
        size = len(batch[0])
        if size > self.fits:
            raise torch.OutOfMemoryError
        self.clock[0] += size / min(size, self.gains_until)


@pytest.mark.parametrize(
    ("fits", "gains_until", "n", "found", "why"),
    [
        (128, 10_000, 5000, 128, "256 don't fit"),
        (8192, 64, 5000, 64, "128 are no faster"),
        (8192, 10_000, 100, 128, "there are only 100"),
        (99_999, 99_999, 50_000, 8192, "the largest that is tried"),
    ],
)
def test_the_largest_batch_that_repays_is_found_and_told(
    fits: int, gains_until: int, n: int, found: int, why: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    caplog.set_level("INFO")
    images = Images.from_pixels(np.zeros((n, 1, 1, 1), np.uint8))
    assert batch_size.try_batches(Walker(fits, gains_until, clock), [images], torch.device("cpu")) == found
    assert f"Batches of {found} images: " in caplog.text
    assert why in caplog.text


def test_batches_are_dealt_out_to_the_ranks_on_a_grid_that_does_not_depend_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ranks in this process, one after the other: what one leaves out the other has."""
    dealt: list[slice] = []
    original: Callable[..., None] = rows.RowWriter.__init__

    def record(self: rows.RowWriter, files_of: dict[Path, dict[str, Path]], batches: list[slice]) -> None:
        dealt.extend(batches)
        original(self, files_of, batches)

    monkeypatch.setattr(rows.RowWriter, "__init__", record)
    pending = list(slices(N, 4))
    assert pending == [slice(0, 4), slice(4, 8), slice(8, 11)]
    signals(tmp_path, 20)
    assert dealt == pending
