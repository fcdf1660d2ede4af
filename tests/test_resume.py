"""What a killed run has left is verified before it is continued; what was damaged is told, and computed again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secmi_exp.attacks.signals.trajectories import Trajectories
from secmi_exp.data import decoding, decoding_processes
from secmi_exp.data.images import ImageSet
from secmi_exp.data.samples import ArraySamples
from secmi_exp.engine import rows
from secmi_exp.engine.row_journal import WrittenBatch, append_batches, queries_of_rows, read_journal, verify_journal
from secmi_exp.errors import UserError
from tests.support.damaging import DAMAGES, flip, truncate, zero
from tests.support.decoded import decoded
from tests.support.lines import Line, train
from tests.support.walks import MADE_IN_12, Killed, N, same, signals

Damage = Callable[[Path], None]
PIXELS = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)


def cases(thorough: str, *others: str) -> Any:
    """All damages to one file, flipped bytes in the others."""
    pairs = [(thorough, damage) for damage in DAMAGES] + [(name, flip) for name in others]
    return pytest.mark.parametrize(("name", "damage"), pairs, ids=[f"{d.__name__}-{n}" for n, d in pairs])


@pytest.fixture(autouse=True)
def noted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(decoding, "SAVE_EVERY_S", -1.0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Trajectories:
    return signals(tmp_path_factory.mktemp("whole"), 40, maps=[40])


def killed_walk(root: Path) -> None:
    """One of three batches is noted, of t-errors, maps and the last state."""
    with pytest.raises(Killed):
        signals(root, 40, maps=[40], fails_after=12)


@cases(
    "t_errors-*/t_errors.npy",
    "error_maps-*/maps.npy",
    "states-*/eps.npy",
    "error_maps-*/scratch/rows-0.txt",
)
def test_rows_that_changed_after_a_kill_are_computed_again(
    tmp_path: Path, name: str, damage: Damage, undisturbed: Trajectories, caplog: pytest.LogCaptureFixture
) -> None:
    killed_walk(tmp_path)
    for file in tmp_path.glob(f"work/{name}"):
        damage(file)
    continued = signals(tmp_path, 40, maps=[40])
    same(continued, undisturbed)
    assert continued.queries_spent == MADE_IN_12 + 5 * N
    assert "are not as they were written; computing them again." in caplog.text


@pytest.mark.parametrize("damage", [zero, truncate, Path.unlink], ids=lambda damage: damage.__name__)
def test_without_the_journal_nothing_counts_as_done(tmp_path: Path, damage: Damage, undisturbed: Trajectories) -> None:
    killed_walk(tmp_path)
    for journal in tmp_path.glob("work/t_errors-*/scratch/rows-0.txt"):
        damage(journal)
    continued = signals(tmp_path, 40, maps=[40])
    same(continued, undisturbed)
    assert continued.queries_spent == MADE_IN_12 + 5 * N


def test_what_was_not_damaged_is_not_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    killed_walk(tmp_path)
    assert signals(tmp_path, 40, maps=[40]).queries_spent == MADE_IN_12 + 5 * (N - 4)
    assert "not as they were written" not in caplog.text


def test_a_line_of_the_journal_that_a_kill_has_cut_takes_no_later_one_with_it(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    batches = [WrittenBatch(slice(0, 4), 5, {}), WrittenBatch(slice(4, 8), 5, {})]
    append_batches(tmp_path, 0, batches[:1])
    with (tmp_path / "scratch/rows-0.txt").open("ab") as journal:
        journal.write(batches[1].line[:-9])
    assert verify_journal(tmp_path, {}, 8).tolist() == [True] * 4 + [False] * 4
    append_batches(tmp_path, 0, batches[1:])
    assert list(read_journal(tmp_path)) == batches


def test_samples_that_two_batch_sizes_have_drawn_are_counted_once(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    append_batches(tmp_path, 0, [WrittenBatch(slice(0, 4), 5, {}), WrittenBatch(slice(0, 6), 5, {})])
    assert queries_of_rows(tmp_path, 6).sum() == 30


class StoppedWhileDecoding(Exception):
    pass


def decode_until(workspace: Path, batches: float, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """Of four batches, the second of which has an image that can't be read."""
    in_order = decoding_processes.decoded_in_order

    def stopping(*arguments: Any) -> Iterator[Any]:
        for number, batch in enumerate(in_order(*arguments)):
            if number == batches:
                raise StoppedWhileDecoding
            yield batch

    class OneBroken(ArraySamples):
        def open(self, row: int) -> Any:
            if row == 10:
                raise ValueError("broken")
            return super().open(row)

    with monkeypatch.context() as patch:
        patch.setattr(decoding_processes, "decoded_in_order", stopping)
        patch.setattr(decoding_processes, "BATCH", 8)
        return decoded(OneBroken("made", "made", lambda: PIXELS), workspace)


@cases("scratch/progress.json", "pixels.npy", "digests.npy", "sizes.npy")
def test_images_that_changed_after_a_kill_are_decoded_again(
    tmp_path: Path, name: str, damage: Damage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoppedWhileDecoding):
        decode_until(tmp_path / "killed", 3, monkeypatch)
    damage(tmp_path / "killed" / name)
    again = decode_until(tmp_path / "killed", np.inf, monkeypatch)
    whole = decode_until(tmp_path / "whole", np.inf, monkeypatch)
    assert again.sizes is not None
    for one, other in ((again.pixels, whole.pixels), (again.digests, whole.digests), (again.sizes, whole.sizes)):
        assert np.array_equal(one, other)  # type: ignore[arg-type]
    assert again.unreadable == whole.unreadable == {10: "broken"}
    if damage is not Path.unlink:
        assert "decoding all images again" in caplog.text


@pytest.mark.parametrize(("damage", "damaged"), [*((damage, 1) for damage in DAMAGES), (flip, 2), (zero, 2)])
def test_a_damaged_checkpoint_is_left_out_and_an_older_one_or_none_continued(
    tmp_path: Path, damage: Damage, damaged: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(UserError):
        train(Line(8, gradient_only=False), tmp_path)
    checkpoints = sorted(tmp_path.glob("scratch/checkpoints/*.ckpt"), reverse=True)
    assert [file.stem for file in checkpoints] == ["step=000000006", "step=000000003"]
    for file in checkpoints[:damaged]:
        damage(file)
    continued, whole = Line(100, gradient_only=False), Line(100, gradient_only=False)
    train(continued, tmp_path)
    train(whole, tmp_path / "whole")
    assert continued.weight.item() == whole.weight.item()
    assert ("Continuing line from step=000000003" in caplog.text) == (damaged == 1)
    if damage is not Path.unlink:
        assert caplog.text.count("which is not as it was written") == damaged
