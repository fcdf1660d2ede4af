"""The second half of an attack: signals to one membership score an image, higher = more likely a member."""

from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from secmi_exp.attacks.signal import Signals
from secmi_exp.runtime import MakeLogger, Runtime
from secmi_exp.store import Json

Scores = NDArray[np.float64]


@runtime_checkable
class Scorer(Protocol):
    """A scorer with nothing to learn."""

    reads_maps: ClassVar[bool]
    """Whether it needs the error maps at t_sec."""

    def score(self, signals: Signals, t_sec: int) -> Scores:
        """One score an image, [n], from the signals at t_sec."""


@runtime_checkable
class LearnedScorer(Protocol):
    """A scorer that is fitted on the attack-train part before it scores."""

    version: ClassVar[int]
    """Of its code; raised when the same configuration would give other scores."""

    reads_maps: ClassVar[bool]
    """Whether it needs the error maps at t_sec."""

    def settings(self) -> dict[str, Json]:
        """What decides the scores, besides signals, t_sec and labels."""

    def fit_and_score(
        self,
        signals: Signals,
        t_sec: int,
        fit_rows: NDArray[np.int64],
        is_member: NDArray[np.bool_],
        workspace: Path,
        runtime: Runtime,
        make_logger: MakeLogger,
    ) -> Scores:
        """Fit on some rows, score all.

        Args:
            signals: of all n images.
            t_sec: the timestep to look at.
            fit_rows: rows to fit on.
            is_member: the labels of these rows, and of no others.
            workspace: a folder that survives a killed process.
            runtime: the machine.
            make_logger: gives the place where metrics go.

        Returns:
            One score an image, [n].
        """
