"""Small audits by the Python API, of pipelines with random weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from diffusers import DDPMPipeline, DDPMScheduler

from secmi_exp.reporting import run_figures
from tests.support.diffusers_folders import network
from tests.support.runs import FIGURES, no_processes
from tests.support.unrendered import save_a_pixel

N = 12
"""Images a side."""


def tiny_pipeline() -> DDPMPipeline:
    """For gray images of 8×8, in memory; the weights are the same each time."""
    return DDPMPipeline(unet=network(1), scheduler=DDPMScheduler(400))


def gray(seed: int, n: int = N) -> np.ndarray:
    """Uint8 [n, 8, 8]."""
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8), dtype=np.uint8)


def quick(root: Path, **settings: Any) -> dict[str, Any]:
    """Settings of a run in a folder, without what takes time."""
    return {
        "paths": {"output": root},
        "trainer": "cpu",
        "split": {"attack_train": 0.5},
        "evaluation": {"bootstrap_rounds": 50, "blind": False},
        **{"attack.t_max": 20},
        **settings,
    }


@contextmanager
def without_figures() -> Iterator[None]:
    """A pixel is saved for each figure, and images are decoded in this process."""
    with patch.dict(vars(run_figures), dict.fromkeys(FIGURES, save_a_pixel)), no_processes():
        yield
