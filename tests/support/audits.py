"""Runs on targets that were trained elsewhere."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from secmi_exp.targets.pixel.authors_format import Flags
from tests.support.authors_network import random_weights, save_checkpoint
from tests.support.published import crops
from tests.support.runs import run_here

FLAGS = Flags(T=50, ch=32, ch_mult=(1, 2), attn=(1,), num_res_blocks=1, img_size=8)

SHORT = ["+attack=stat", "attack.t_sec=20", "attack.t_max=20"]


def sides(root: Path, n: int = 12) -> list[str]:
    """Folders A and B with pictures, as the arguments that name them."""
    for name, seed in (("A", 1), ("B", 2)):
        (root / name).mkdir()
        for i, pixels in enumerate(crops(n, 24, 24, seed)):
            Image.fromarray(pixels).save(root / name / f"{i}.jpg")
    folders = [f"dataset.members={root}/A", f"dataset.holdout={root}/B"]
    return ["dataset=image_folder", "dataset.image_size=8", "split.attack_train=0.5", *folders]


def checkpoint(folder: Path) -> Path:
    """Of the authors' code, with its flag file."""
    return save_checkpoint(folder, FLAGS, ema_model=random_weights(FLAGS, 0), net_model=random_weights(FLAGS, 1))


def audit(root: Path, target: str, path: Path, *overrides: str, attack: Sequence[str] = SHORT) -> dict[str, Any]:
    """Results of a run on a target that was trained elsewhere."""
    given = {override.split("=")[0] for override in overrides}
    short = [override for override in attack if override.split("=")[0] not in given]
    arguments = [*short, f"target={target}", f"target.path={path}", *overrides]
    folder = run_here(root, *arguments, base=["trainer=cpu", "evaluation.bootstrap_rounds=50"])
    return results(folder) | {"folder": folder}


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content
