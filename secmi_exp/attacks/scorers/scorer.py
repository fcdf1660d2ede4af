"""The second half of an attack: what was measured to one membership score an image, higher = more likely a member."""

from abc import ABC, abstractmethod
from dataclasses import asdict
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.engine.runtime import MakeLogger, Runtime
from secmi_exp.files.strict_json import Json

Scores = NDArray[np.float64]

FACTS = "facts.json"
"""A file that fitting may leave in its workspace: a mapping for results.json, with a sentence named ``summary``."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Scorer(ABC):
    """A scorer with nothing to learn."""

    reads: ClassVar[tuple[str, ...]] = ()
    """Names of the values that it needs, such as ``error_map``; a field ``value`` may name another, a number."""

    @abstractmethod
    def score(self, measured: Measurements) -> Scores:
        """Return one score an image, [n]."""


@plain_dataclass(frozen=True)
class Fitting:
    """The labelled rows that a scorer is fitted on, and where it computes."""

    rows: NDArray[np.int64]
    """Numbers of the images to fit on."""
    is_member: NDArray[np.bool_]
    """The labels of these rows, and of no others."""
    workspace: Path
    """A folder that survives a killed process."""
    runtime: Runtime
    """The machine."""
    make_logger: MakeLogger
    """Returns the logger of metrics."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LearnedScorer(ABC):
    """A scorer that is fitted on the attack-train part before it scores."""

    version: ClassVar[int]
    """Raised when the same configuration would give other scores."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Names of the values that it needs, such as ``error_map``; a field ``value`` may name another, a number."""

    def settings(self) -> dict[str, Json]:
        """Return all that decides the scores, besides measurements and labels."""
        return asdict(self)

    def chosen_by(self, measured: Measurements) -> dict[str, Json]:
        """Return what the measurements' own values decide of how they are read, without labels; nothing by default."""
        return {}

    @abstractmethod
    def fit_and_score(self, measured: Measurements, fitting: Fitting) -> Scores:
        """Fit on some rows, score all n images. [n]."""
