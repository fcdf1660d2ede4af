"""Runs within this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from secmi_exp.reporting import drawing
from secmi_exp.store import Store
from secmi_exp.testing import run
from tests.support.commands import SMOKE

MEMORIZING = ["target=memorizing", "split.members=64", "split.holdouts=64", "evaluation.bootstrap_rounds=200"]
"""A run on a target that knows its members by heart, and needs no training."""


def run_here(output: Path, *overrides: str, base: Sequence[str] = SMOKE) -> Path:
    """The smoke experiment without Hydra's logging, and with a pixel for each figure; much quicker than the command."""
    with patch.object(drawing, "save", save_a_pixel):  # drawing takes half of such a run's time
        return run(output, *base, *overrides)


def save_a_pixel(figure: Figure, layout: ConstrainedLayoutEngine, path: Path) -> None:
    """Save a picture in a figure's place."""
    Image.new("RGB", (1, 1)).save(path)


@contextmanager
def one_run(root: Path) -> Iterator[Store]:
    """The store of a run that tells its queries when it ends well, as writing its results does."""
    store = Store(root)
    try:
        yield store
        store.delete_tallies()
    finally:
        for tally in store._tallies.values():
            tally.close()  # as the end of the process does
