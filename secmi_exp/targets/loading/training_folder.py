"""Where the usual training scripts leave a network, its average and its schedule.

Diffusers' scripts write each checkpoint into ``checkpoint-500/unet``, the average of the weights beside it into
``checkpoint-500/unet_ema``, and in the end the pipeline with its ``scheduler`` one folder up, where ``unet`` is the
average if there is one. Source: train_unconditional.py and train_text_to_image.py of https://github.com/huggingface/diffusers.
"""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secmi_exp.errors import UserError
from secmi_exp.run_warnings import warn
from secmi_exp.targets.loading.model_folder import CONFIG

PIPELINE_CONFIG = "model_index.json"
SCHEDULER_CONFIG = "scheduler_config.json"

WeightsChoice = Literal["auto", "ema", "net"]
"""Averaged weights, those that were trained last, or what is usually sampled with: see `choose_network`."""

FOLDERS: dict[WeightsChoice, str] = {"ema": "unet_ema", "net": "unet"}

NETWORK_CONFIGS = tuple(f"{folder}/{CONFIG}" for folder in FOLDERS.values())
"""By which they are found."""

EMA_SETTINGS = frozenset(
    {"decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"}
)
"""What diffusers' `EMAModel` adds to the description of an average; none of it concerns the network."""


@dataclass(frozen=True)
class ChosenNetwork:
    """The folder that a network is read from."""

    folder: str
    """Below the target's; empty: the target's itself."""
    other: str | None = None
    """The folder that might have been meant, where the user hasn't said which."""

    def below(self, folder: str) -> "ChosenNetwork":
        """The same, seen from one folder up."""
        return ChosenNetwork(f"{folder}/{self.folder}", self.other and f"{folder}/{self.other}")

    def warn(self, path: Path) -> None:
        """Tell which was taken, where there was a choice.

        Args:
            path: of the target.
        """
        if self.other:
            warn(
                "weights_chosen",
                f"{path} holds {self.folder} and {self.other}, of which {self.folder} is attacked: say by "
                "target.weights=ema (unet_ema) or net (unet) which is meant.",
            )


def file_names(path: Path) -> set[str]:
    """Names of the files in a folder and in the folders in it, relative to it."""
    found = [*path.glob("*"), *path.glob("*/*")]
    return {file.relative_to(path).as_posix() for file in found if file.is_file()}


def choose_network(names: Collection[str], weights: WeightsChoice, where: str) -> ChosenNetwork:
    """The folder of the network: the average where there is one, since that is what is sampled with.

    In a pipeline the network is the one that its index names, ``unet``, whatever lies beside it.

    Args:
        names: of the files, relative to the target's folder.
        weights: the user's choice.
        where: the folder, for messages.

    Raises:
        UserError: where the chosen one isn't there.
    """
    there = [folder for folder in FOLDERS.values() if f"{folder}/{CONFIG}" in names]
    if weights != "auto":
        if FOLDERS[weights] not in there:
            raise UserError(
                f"{where} has no {FOLDERS[weights]}/{CONFIG}, which target.weights={weights} asks for: set "
                "target.weights=auto for the network that is there."
            )
        return ChosenNetwork(FOLDERS[weights])
    if PIPELINE_CONFIG in names:
        there.reverse()
    return ChosenNetwork(*there) if there else ChosenNetwork("")


def is_checkpoint(path: Path) -> bool:
    """Whether a folder has the name that the scripts give to their checkpoints."""
    return re.fullmatch(r"checkpoint-\d+", path.name) is not None


def scheduler_file(path: Path) -> Path | None:
    """The scheduler's description in a target's folder, else where a training leaves it.

    That is one folder up from a checkpoint and from a network of a pipeline, and two from a network of a checkpoint.
    """
    parent = path.absolute().parent
    above = [parent, parent.parent] if is_checkpoint(parent) else [parent]
    candidates = [path / "scheduler", path, *(folder / "scheduler" for folder in above)]
    files = (folder / SCHEDULER_CONFIG for folder in candidates)
    return next((file for file in files if os.path.lexists(file)), None)  # one that can't be read is told, not left out
