"""The second half of an attack: what was measured to one membership score an image, higher = more likely a member."""

from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from secmi_exp.attacks.measured import Measured
from secmi_exp.runtime import MakeLogger, Runtime
from secmi_exp.store import Json

Scores = NDArray[np.float64]


@runtime_checkable
class Scorer(Protocol):
    """A scorer with nothing to learn."""

    reads: ClassVar[tuple[str, ...]]
    """Names of the values that it needs beyond what the attack always measures, such as ``error_map``."""

    def score(self, measured: Measured) -> Scores:
        """One score an image, [n]."""


@runtime_checkable
class LearnedScorer(Protocol):
    """A scorer that is fitted on the attack-train part before it scores."""

    version: ClassVar[int]
    """Of its code; raised when the same configuration would give other scores."""

    reads: ClassVar[tuple[str, ...]]
    """Names of the values that it needs beyond what the attack always measures, such as ``error_map``."""

    def settings(self) -> dict[str, Json]:
        """What decides the scores, besides what was measured and labels."""

    def fit_and_score(
        self,
        measured: Measured,
        fit_rows: NDArray[np.int64],
        is_member: NDArray[np.bool_],
        workspace: Path,
        runtime: Runtime,
        make_logger: MakeLogger,
    ) -> Scores:
        """Fit on some rows, score all.

        Args:
            measured: of all n images.
            fit_rows: rows to fit on.
            is_member: the labels of these rows, and of no others.
            workspace: a folder that survives a killed process.
            runtime: the machine.
            make_logger: gives the place where metrics go.

        Returns:
            One score an image, [n].
        """
