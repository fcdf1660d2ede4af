"""The commands that are killed, at the smallest size that has all stages."""

import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from secmi_exp.testing import compose_config
from tests.kills.forks import Main, in_fork


def command(*arguments: str) -> Main:
    """A run with a configuration that is composed once for all forks."""
    config = compose_config(*arguments, "paths.output=outputs")

    def main() -> None:
        from secmi_exp.pipeline import run

        folder = Path("outputs/runs/day") / str(time.monotonic_ns())
        folder.mkdir(parents=True)
        run(config, folder)

    return main


def whole_command(*arguments: str) -> Main:
    """`python -m secmi_exp` with some arguments."""

    def main() -> None:
        from secmi_exp.__main__ import main

        sys.argv = ["secmi_exp", *arguments]
        main()

    return main


def preload(mains: Sequence[Main], folder: Path) -> None:
    """Import all that commands import."""
    names = folder / "modules.json"

    def noting() -> None:
        try:
            for main in mains:
                main()
        finally:
            names.write_text(json.dumps(list(sys.modules)))

    ended = in_fork(noting, folder / "preloading", seconds=1200)
    assert ended.status == 0, ended.output
    for name in json.loads(names.read_text()):
        if name not in sys.modules and not name.startswith("__mp_main__"):
            try:
                importlib.import_module(name)
            except Exception:  # made on the fly, such as torch.ops
                continue


COMMON = [
    "trainer=cpu", "logger=none", "trainer.progress_bar=false", "trainer.query_batch_size=8", "split.members=16",
    "split.holdouts=16", "evaluation.bootstrap_rounds=5",
]  # fmt: skip
DDPM = [
    *COMMON, "experiment=smoke", "target.max_steps=4", "target.checkpoint_every=2", "target.sample_every=4",
    "target.network.block_out_channels=[8,8]",
]  # fmt: skip
PICTURES = ["dataset=image_folder", "dataset.image_size=8", "dataset.channels=1", "target=ddpm_small"]
FOLDER = [*PICTURES, "dataset.members=../pictures/A", "dataset.holdout=../pictures/B", *DDPM]
SECMI = ["attack.t_sec=20", "attack.t_max=20"]
LATENT = [
    *COMMON, "experiment=latent_digits", *SECMI, "dataset.image_size=8", "target.autoencoder.block_out_channels=[8,8]",
    "target.autoencoder_training.max_steps=2", "target.autoencoder_training.checkpoint_every=1",
    "target.autoencoder_training.batch_size=8", "target.network.block_out_channels=[8,8]",
    "target.training.max_steps=2", "target.training.checkpoint_every=1", "target.training.batch_size=8",
    "target.training.samples=2",
]  # fmt: skip

COMMANDS: dict[str, tuple[list[str] | None, list[str]]] = {
    "smoke": (
        None,
        ["+attack=nn", "attack.scorers.nn.epochs=1", "attack.scorers.nn.min_steps=3", "attack.scorers.nn.folds=2",
         "attack.scorers.nn.small.steps=[3]", "attack.scorers.nn.checkpoint_every=2", *SECMI, *DDPM],
    ),
    "pia": (["+attack=sima", *FOLDER], ["+attack=pia", *FOLDER]),
    "gan_leaks": (["+attack=pia", *FOLDER], ["+attack=gan_leaks", "attack.samples=32", "attack.steps=2", *FOLDER]),
    "latent": (None, LATENT),
    "extension": (
        ["+attack=stat", *SECMI, *FOLDER], ["+attack=stat", "attack.t_sec=40", "attack.t_max=40", *FOLDER],
    ),
}  # fmt: skip
"""Name → the arguments of a run before the one that is killed, which begins with what that has left, and its own."""


def make_pictures(folder: Path) -> None:
    """Two folders of gray images of 8×8 pixels."""
    import numpy as np
    from PIL import Image

    draws = np.random.default_rng(0)
    for side in "AB":
        (folder / side).mkdir(parents=True)
        for number in range(16):
            pixels = draws.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / side / f"{number:02}.png")


def make_cheap() -> None:
    """Figures without a drawing, and a small network in SecMI_NN's place; what is written stays."""
    from torch import nn

    from secmi_exp.attacks.scorers import nn_choice
    from secmi_exp.data import decoding
    from secmi_exp.engine import rows
    from secmi_exp.reporting import run_figures

    for name in ("draw_roc", "draw_scores", "draw_exposed", "draw_t_errors", "draw_relative_t_error"):
        setattr(run_figures, name, lambda path, *_, **__: path.write_bytes(b"a figure"))
    vars(nn_choice)["resnet18_network"] = lambda channels: nn.Sequential(
        nn.Conv2d(channels, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)
    )
    rows.SAVE_EVERY_S = decoding.SAVE_EVERY_S = -1.0
