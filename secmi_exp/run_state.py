"""What the parts of one run share: its settings and data, and what an attack gave."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from secmi_exp.attacks.attack import Attack, TargetFree
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import Scores
from secmi_exp.configuration.components import Components
from secmi_exp.data.images import ImageSet
from secmi_exp.data.near_duplicates import NearDuplicates
from secmi_exp.data.split import Split
from secmi_exp.evaluation.judge import Judgement
from secmi_exp.evaluation.privacy_bound import PrivacyBound
from secmi_exp.evaluation.relative_t_error import RelativeTError
from secmi_exp.evaluation.scored import Scored
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import RunWarning
from secmi_exp.store import Store
from secmi_exp.tracking.tracker import Tracker


@dataclass(frozen=True)
class Run:
    """Settings, data and outputs of one run."""

    config: DictConfig
    folder: Path
    parts: Components
    store: Store
    images: ImageSet
    split: Split
    split_facts: dict[str, Json]
    """Facts about the split, for results.json."""
    tracker: Tracker
    seconds: dict[str, Json]
    """Wall time by stage, filled as the run goes on."""
    warnings: list[RunWarning]
    """Warnings about the results, collected as the run goes on."""
    code: Mapping[str, Json]
    """Version and revision, as the run began."""
    near: NearDuplicates | None = None
    """Groups of images that look alike; None if not looked for."""

    @property
    def target_name(self) -> str:
        """Name of the attacked target in tables and figures."""
        return "none" if isinstance(self.parts.attack, TargetFree) else self.parts.target.name


@dataclass(frozen=True)
class AttackOutcome:
    """Measurements, scores and evaluation of an attack."""

    attack: Attack
    measured: Measurements
    scores: dict[str, Scores]
    """Scorer → scores of all attacked images, the attack's own scorer first."""
    fitted: dict[str, Mapping[str, Json]]
    """Scorer → what its fitting recorded, with a sentence named ``summary``; only of scorers that record something."""
    judgements: dict[str, Judgement]
    evaluated: dict[str, Scored]
    """Scorer → what it was judged on."""
    bounds: dict[str, PrivacyBound]
    """Scorer → the ε that its decisions at a calibrated threshold refute; empty where none was calibrated."""
    relative_t_error: RelativeTError | None
    """The relative t-error over timesteps, where the attack is SecMI."""
    surrogates: Mapping[str, Json] | None
    """The answer that surrogate hold-outs allow; None without such."""

    def copied(self, rows: NDArray[np.bool_]) -> int | None:
        """Return how many of some attacked images a sample of the target copies; None if not checked.

        Args:
            rows: which of the attacked images count, [n]; nothing is fitted to any of them.
        """
        return None if self.measured.copied is None else int((self.measured.copied & rows).sum())


@contextmanager
def timed(seconds: dict[str, Json], stage: str) -> Iterator[None]:
    """Record the wall time of a stage."""
    started = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - started, 3)
