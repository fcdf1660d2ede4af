"""Runs within this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from secmi_exp.data import decoding_processes
from secmi_exp.reporting import run_figures
from secmi_exp.store import Store
from secmi_exp.targets.pixel import training
from secmi_exp.targets.text_to_image import unet_training
from secmi_exp.testing import run
from tests.support.commands import SMOKE
from tests.support.unrendered import save_a_pixel

FIGURES = [name for name in vars(run_figures) if name.startswith("draw_")]
"""Functions whose figures take a third of a run's time."""
MEMORIZING = ["target=memorizing", "split.members=64", "split.holdouts=64", "evaluation.bootstrap_rounds=200"]
"""A run on a target that knows its members by heart, and needs no training."""


def run_here(output: Path, *overrides: str, base: Sequence[str] = SMOKE) -> Path:
    """The smoke experiment without Hydra's logging, and with a pixel for each figure; much quicker than the command."""
    with patch.dict(vars(run_figures), dict.fromkeys(FIGURES, save_a_pixel)), few_sampling_steps(), no_processes():
        return run(output, *base, *overrides)


@contextmanager
def few_sampling_steps() -> Iterator[None]:
    """Targets that are trained meanwhile are sampled in two steps, as it's a picture that nobody looks at."""
    with patch.object(training, "SAMPLING_STEPS", 2), patch.object(unet_training, "SAMPLING_STEPS", 2):
        yield


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


@contextmanager
def no_processes() -> Iterator[None]:
    """Images are decoded in this process, however many: a fork of a process with so much memory takes longer."""
    with patch.object(decoding_processes, "SAMPLES_A_WORKER", 2**40):
        yield
