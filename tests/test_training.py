"""Training that diverges stops before it can save what it has become, and continues from before it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from secmi_exp.engine.batches import Piece
from secmi_exp.engine.optimization import Draws
from secmi_exp.engine.training import newest_checkpoint
from secmi_exp.errors import UserError
from tests.support.lines import Line, train


@pytest.mark.parametrize(("nan_from", "gradient_only", "kept"), [(4, False, 3), (6, True, 3), (9, True, 6)])
def test_nothing_diverged_is_saved_and_training_continues_from_before(
    tmp_path: Path, nan_from: int, gradient_only: bool, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match=f"diverged by step .*step=00000000{kept}.ckpt"):
        train(Line(nan_from, gradient_only=gradient_only), tmp_path)
    newest = newest_checkpoint(tmp_path / "scratch/checkpoints", below_step=9)
    assert newest
    assert torch.isfinite(torch.load(newest, weights_only=True)["state_dict"]["weight"]).all()
    caplog.set_level("INFO")
    healthy = Line(100, gradient_only=False)
    train(healthy, tmp_path)
    assert f"Continuing line from step=00000000{kept}" in caplog.text
    assert healthy.weight.item() == pytest.approx(0.98**9)


@pytest.mark.usefixtures("without_tmpdir")
def test_checkpoints_are_written_beside_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, places = torch.save, []

    def noted(content: Any, file: Any) -> None:
        places.append(Path(file.name))
        save(content, file)

    monkeypatch.setattr(torch, "save", noted)
    train(Line(100, gradient_only=False), tmp_path)
    folder = tmp_path / "scratch/checkpoints"
    assert places == [folder / f".step=00000000{step}.ckpt.partial" for step in (3, 6, 9)]
    assert sorted(path.name for path in folder.iterdir()) == ["step=000000006.ckpt", "step=000000009.ckpt"]


def test_an_unreadable_checkpoint_is_passed_over(tmp_path: Path) -> None:
    train(Line(100, gradient_only=False), tmp_path)
    folder = tmp_path / "scratch/checkpoints"
    (folder / "step=000000009.ckpt").write_bytes(b"half")
    assert newest_checkpoint(folder, below_step=9) == folder / "step=000000006.ckpt"


@pytest.mark.parametrize("content", [{"global_step": 3}, {"global_step": "3"}, [3], {"state_dict": {}}])
def test_a_checkpoint_without_what_training_continues_from_is_passed_over(
    tmp_path: Path, content: object, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "scratch/checkpoints"
    folder.mkdir(parents=True)
    torch.save(content, folder / "step=000000003.ckpt")
    healthy = Line(100, gradient_only=False)
    train(healthy, tmp_path)
    assert "Left out the checkpoint step=000000003.ckpt" in caplog.text
    assert healthy.weight.item() == pytest.approx(0.98**9)


@pytest.mark.parametrize("start", [0, 4])
def test_what_a_network_draws_is_apart_from_what_its_step_has_drawn(start: int) -> None:
    draws = Draws(Piece(start, start + 4, 8), torch.device("cpu"), seed=3, step=5)
    drawn = []
    for seeded in (draws.begin, draws.apart):
        seeded()
        drawn.append(torch.rand(8))
    assert not torch.isclose(drawn[0], drawn[1]).any()
