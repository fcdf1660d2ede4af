"""Signals never see labels; scorers read them as they should."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.column import Column
from secmi_exp.attacks.scorers.map_distance import MapDistance
from secmi_exp.data.images import ImageSet, Rows
from secmi_exp.data.split import Halves, Split
from secmi_exp.testing import configured, measure
from tests.support.runs import MEMORIZING, run_here


def test_labels_never_reach_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ran() -> tuple[np.ndarray, np.ndarray]:
        folder = run_here(tmp_path, "+attack=stat", "attack.t_sec=20", base=MEMORIZING)
        table = pq.read_table(folder / "scores.parquet")
        return table["is_member"].to_numpy(zero_copy_only=False), table["t_error"].to_numpy()

    labels, errors = ran()
    entries = sorted(tmp_path.glob("store/t_errors/*"))
    split = Halves.split

    def shuffled(self: Halves, images: ImageSet, alike: Rows | None = None) -> Split:
        made = split(self, images, alike)
        return replace(made, is_member=np.random.default_rng(1).permutation(made.is_member))

    monkeypatch.setattr(Halves, "split", shuffled)
    other_labels, other_errors = ran()
    assert (labels != other_labels).any()
    assert np.array_equal(errors, other_errors)
    assert sorted(tmp_path.glob("store/t_errors/*")) == entries  # the very same


def test_t_errors_at_another_timestep_are_other_measurements_though_the_same_maps_are_read(tmp_path: Path) -> None:
    def asked(*overrides: str) -> tuple[Any, np.ndarray]:
        measured = measure(configured("attack", "+attack=quantile", "attack.t_max=50", *overrides), tmp_path)
        return measured.key, measured.numbers["t_error"]

    (early, early_errors), (late, late_errors) = (
        asked(f"attack.t_sec={t}", f"attack.stacked=[{other}]") for t, other in ((20, 50), (50, 20))
    )
    assert (early_errors != late_errors).all()
    assert early.digest != late.digest
    alone, _ = asked("attack.t_sec=20")
    assert alone.config == {"t_sec": [20]}  # as it is named in stores of earlier versions
    assert asked("attack.t_sec=20", "attack.stacked=[20]")[0].digest == alone.digest


def planted(n: int = 120) -> tuple[Measurements, np.ndarray]:
    """Maps that are smaller on members."""
    rng = np.random.default_rng(0)
    is_member = np.arange(n) % 2 == 0
    maps = np.abs(rng.normal(0, np.where(is_member, 0.01, 0.03)[:, None, None, None], (n, 1, 8, 8))).astype(np.float16)
    errors = np.square(maps.astype(np.float32)).sum(axis=(1, 2, 3))
    return Measurements({"t_error": errors, "error_map": maps}, 2, 0, "planted"), is_member


def test_a_value_is_turned_so_that_members_score_higher() -> None:
    measured, is_member = planted()
    scores = Column("t_error", "less").score(measured)
    assert scores[is_member].min() > scores[~is_member].max()
    assert np.array_equal(Column("t_error", "more").score(measured), -scores)


@pytest.mark.parametrize("p", [1.0, 2.0, 4.0])
def test_other_distances_are_norms_of_the_maps(p: float) -> None:
    measured, _ = planted()
    maps = np.asarray(measured.values["error_map"], dtype=np.float64)
    np.testing.assert_allclose(MapDistance(p).score(measured), -((maps**p).sum(axis=(1, 2, 3)) ** (1 / p)), rtol=1e-6)
