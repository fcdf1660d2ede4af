"""What the page reads of a run's results.json, checked as it is read."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from secmi_exp.reporting.jobs import Estimate


class Checked(BaseModel):
    """Fields that the page doesn't show are left aside, and numbers are finite."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Bound(Checked):
    """The ε that an attack's decisions refute."""

    epsilon: float
    one_run: float | None = None
    delta: float = 0.0
    confidence: float = 0.95


class Measures(Checked):
    """Metrics with their intervals."""

    metrics: dict[str, float | None] = {}
    ci95: dict[str, tuple[float, float] | None] = {}

    def estimate(self, metric: str) -> Estimate:
        """A metric with its interval."""
        low, high = self.ci95.get(metric) or (None, None)
        return Estimate(self.metrics.get(metric), low, high)


class Judged(Measures):
    """What a scorer's scores gave."""

    threshold: dict[str, float | None] = {}
    unresolved: dict[str, str] = {}
    epsilon_lower_bound: Bound | None = None


class Privacy(Checked):
    """What DP-SGD spent."""

    epsilon: float | None


class Blind(Checked):
    """The check of the split by a classifier that never sees the target."""

    auc: float
    ci95: tuple[float, float]


class Warned(Checked):
    """A `RunWarning`."""

    code: str
    sentence: str
    grave: bool = False


class SplitFacts(Checked):
    """Of the split."""

    attacked: int | None = None
    blind: Blind | None = None


class Code(Checked):
    """What of this package computed the results."""

    revision: str | None = None
    modified: bool | None = None


class Provenance(Checked):
    """Where the numbers come from."""

    code: Code = Code()


class Trajectory(Checked):
    """Timesteps at which a walk compared states."""

    timesteps: list[int]


class Results(Judged):
    """The file."""

    attack: str | None = None
    dataset: str
    target: str
    target_folder: str = ""
    seed: int | None = None
    split: SplitFacts = SplitFacts()
    timing_s: dict[str, float] = {}
    warnings: list[Warned] | None = None
    n_member: int | None = None
    n_holdout: int | None = None
    queries_per_sample: float | None = None
    t_sec: int | None = None
    k: int | None = None
    trajectory: Trajectory | None = None
    quality: Measures | None = None
    privacy: Privacy | None = None
    others: dict[str, Judged] = {}
    provenance: Provenance = Provenance()
    versions: Annotated[dict[str, str | None], Field(default_factory=dict)]

    @property
    def judged(self) -> dict[str, Judged]:
        """By scorer, the attack's own first; empty where nothing was attacked."""
        return {self.attack: self, **self.others} if self.attack and self.metrics else {}

    @property
    def attack_seconds(self) -> float:
        """Of measuring and scoring: what the attack took beyond the store."""
        return sum(self.timing_s.get(stage, 0.0) for stage in ("signal", "scores"))
