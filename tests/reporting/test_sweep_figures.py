"""The figure fits what was swept: curve, intervals, map, or none."""

from pathlib import Path

import pytest
from matplotlib.axes import Axes

from secmi_exp.reporting.sweep_figures import draw_sweep
from secmi_exp.reporting.table_files import TableRow
from tests.support.sweep_folder import finished_run


def job(auc: float | None, **given: str) -> TableRow:
    metrics = {} if auc is None else {"auc": auc, "asr": auc - 0.1}
    ci95 = {name: [value - 0.05, value + 0.05] for name, value in metrics.items()}
    return finished_run("0", given, metrics=metrics, ci95=ci95).row()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[object]]:
    """What the figure's axes are asked to draw."""
    calls: dict[str, list[object]] = {}
    for name in ("plot", "vlines", "imshow", "text", "set_xscale"):
        original = getattr(Axes, name)

        def record(self: Axes, *args: object, name: str = name, original: object = original, **more: object) -> object:
            calls.setdefault(name, []).append(args)
            return original(self, *args, **more)

        monkeypatch.setattr(Axes, name, record)
    return calls


def test_a_numeric_setting_makes_a_curve_in_its_order(tmp_path: Path, drawn: dict[str, list[object]]) -> None:
    jobs = [job(0.7, t="100"), job(0.6, t="20"), job(0.9, t="50")]
    assert draw_sweep(tmp_path / "f.png", jobs, ["t"])
    x, y = drawn["plot"][0]  # type: ignore[misc]
    assert (list(x), list(y)) == ([20, 50, 100], [0.6, 0.9, 0.7])  # type: ignore[has-type]
    assert "set_xscale" not in drawn
    assert draw_sweep(tmp_path / "f.png", [job(0.6, t="1"), job(0.7, t="10"), job(0.8, t="100")], ["t"])
    assert "set_xscale" in drawn


def test_names_stand_side_by_side_with_their_intervals(tmp_path: Path, drawn: dict[str, list[object]]) -> None:
    assert draw_sweep(tmp_path / "f.png", [job(0.7, d="none"), job(0.6, d="$hflip$")], ["d"])
    places, low, high = drawn["vlines"][0]  # type: ignore[misc]
    assert list(places) == [0, 1]  # type: ignore[has-type]
    assert list(low) == pytest.approx([0.65, 0.55])  # type: ignore[has-type]
    assert list(high) == pytest.approx([0.75, 0.65])  # type: ignore[has-type]


def test_two_settings_make_a_map_with_holes(tmp_path: Path, drawn: dict[str, list[object]]) -> None:
    jobs = [job(0.7, m="256", d="none"), job(0.6, m="64", d="none"), job(0.8, m="64", d="l2")]
    assert draw_sweep(tmp_path / "f.png", jobs, ["m", "d"])
    (cells,) = drawn["imshow"][0]  # type: ignore[misc]
    assert cells[0].tolist() == pytest.approx([0.6, 0.8])  # type: ignore[has-type]
    assert cells[1][0] == pytest.approx(0.7)  # type: ignore[has-type]
    assert len(drawn["text"]) == 3
    assert (tmp_path / "f.png").is_file()


def test_nothing_is_drawn_of_targets_alone_or_of_three_settings(tmp_path: Path) -> None:
    assert not draw_sweep(tmp_path / "f.png", [job(None, t="1"), job(None, t="2")], ["t"])
    assert not draw_sweep(tmp_path / "f.png", [job(0.5, a="1"), job(0.6, a="2")], ["a", "b", "c"])
    assert not [*tmp_path.iterdir()]
