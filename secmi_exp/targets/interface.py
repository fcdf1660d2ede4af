"""What a config must offer to make a target, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from secmi_exp.data.images import Images
from secmi_exp.runtime import MakeLogger, Runtime
from secmi_exp.store import Store

if TYPE_CHECKING:
    from secmi_exp.targets.noise_predictor import NoisePredictor


@dataclass(frozen=True)
class PreparedTarget:
    """A target that is ready to be attacked."""

    folder: Path
    """Its weights, as a diffusers pipeline."""
    digest: str
    """What it is, for the keys of what is computed with it."""
    load: Callable[[], NoisePredictor]
    """Reads the weights; can be pickled."""
    trained_on: str | None = None
    """Digest of the images that it was trained on, where that is known."""
    samples: Path | None = None
    """A picture of images that it generated, where there is one."""


class Target(Protocol):
    """What a file in ``conf/target`` names."""

    name: str

    @property
    def timesteps(self) -> int:
        """T, the number of timesteps of its schedule."""

    def prepare(self, members: Images, store: Store, runtime: Runtime, make_logger: MakeLogger) -> PreparedTarget:
        """Train it on the members, find that it was trained before, or read what was trained elsewhere.

        Args:
            members: the training images; the target sees no others.
            store: where the weights are kept.
            runtime: the machine.
            make_logger: gives the place where training metrics go, if something is trained.
        """
