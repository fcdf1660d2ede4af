"""Text-to-image targets of random weights, prepared and walked."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secmi_exp.attacks.signals.trajectories import Trajectories, compute_trajectories
from secmi_exp.data.images import Images
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.targets.text_to_image.stable_diffusion import StableDiffusion
from secmi_exp.testing import cpu_runtime, no_logger
from tests.support.tiny_pipelines import (
    SIDE,
)

K, T_SEC = 10, 20

CAPTIONS = ["a seven", "a zero", None, "a seven", "a caption of more than sixteen bytes"]

PIXELS = np.random.default_rng(0).integers(0, 256, (len(CAPTIONS), 3, SIDE, SIDE), dtype=np.uint8)


def images(captions: Sequence[str | None] | None = CAPTIONS) -> Images:
    return dataclasses.replace(Images.from_pixels(PIXELS), captions=captions)


def stable_diffusion(path: Path, **settings: Any) -> StableDiffusion:
    given: dict[str, Any] = {
        "name": "stable_diffusion", "path": str(path), "prompt": "caption", "fixed_prompt": None, "blip": "none",
        "guidance": 1.0, "latents": "mode", "attention_slicing": None, "seed": 0, "weights": "auto", "variant": None,
        "config": None, "lora": None, "lora_scale": 1.0,
    }  # fmt: skip
    return StableDiffusion(**given | settings)


def prepared(path: Path, store: Path, given: Images | None = None, **settings: Any) -> PreparedTarget:
    return stable_diffusion(path, **settings).prepare(given or images(), Store(store), cpu_runtime(), no_logger)


def walked(
    path: Path, store: Path, given: Images | None = None, precision: str = "32", **settings: Any
) -> Trajectories:
    runtime = cpu_runtime(query_batch_size=3, query_precision=precision)
    return compute_trajectories(
        prepared(path, store, given, **settings), given or images(), k=K, t_max=T_SEC, maps=[T_SEC],
        store=Store(store), runtime=runtime,
    )  # fmt: skip
