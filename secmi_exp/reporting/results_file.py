"""results.json as it is read again, by sweeps, the report page and experiments: one schema, checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secmi_exp.errors import UserError, first_line
from secmi_exp.evaluation.gate import Decision
from secmi_exp.evaluation.one_run_audit import Membership
from secmi_exp.files.regular import read_regular
from secmi_exp.run_warnings import RunWarning

METRIC_NAMES = {
    "auc": "AUC",
    "asr": "ASR (oracle threshold)",
    "accuracy_calibrated": "accuracy (calibrated threshold)",
    "precision_calibrated": "precision (calibrated threshold)",
    "recall_calibrated": "recall (calibrated threshold)",
    "tpr_at_1pct_fpr": "TPR @ 1% FPR",
    "tpr_at_0.1pct_fpr": "TPR @ 0.1% FPR",
    "log_pauc": "log-scale area from 0.1% FPR",
}
"""In the order of the terminal's table; other metrics follow under their own name."""


class Estimate(NamedTuple):
    """A number with its 95% interval; None for what is unresolved."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any], name: str) -> "Estimate":
        """Read a metric from a row of summary.csv or comparison.csv: as written, or as text read from the file."""
        cells = (row.get(column) for column in cls().columns(name))
        return cls(*(None if cell in (None, "") else float(cell) for cell in cells))

    def columns(self, name: str) -> dict[str, float | None]:
        """Return the columns of a table: name, name_low, name_high."""
        return dict(zip((name, f"{name}_low", f"{name}_high"), self, strict=True))

    def __str__(self) -> str:
        """Format as 0.898 [0.867, 0.925].

        >>> str(Estimate(0.8981, 0.867, 0.925)), str(Estimate(0.5)), str(Estimate())
        ('0.898 [0.867, 0.925]', '0.500', '')
        """
        if self.value is None:
            return ""
        return f"{self.value:.3f}" + ("" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]")


UNRESOLVED = Estimate()


class _Fields(BaseModel):
    """Numbers must be finite; fields that nobody reads are ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Metrics(_Fields):
    """Metrics with their intervals."""

    metrics: dict[str, float | None] = {}
    ci95: dict[str, tuple[float, float] | None] = {}

    def estimate(self, metric: str) -> Estimate:
        """Return a metric with its interval, unresolved if it is missing."""
        return Estimate(self.metrics.get(metric), *(self.ci95.get(metric) or ()))

    def estimates(self) -> dict[str, Estimate]:
        """Return all metrics by name."""
        return {name: self.estimate(name) for name in self.metrics}


class ValidationResults(Metrics):
    """AUC on attack-train images that nothing was fitted on."""

    n_member: int = 0
    n_holdout: int = 0


class AbstainingBound(_Fields):
    """Lower bounds on ε from an attack's most confident guesses about one training."""

    epsilon: float | None = None
    """Bound of Steinke et al. 2023, for any (ε, δ)-private training."""
    epsilon_gaussian: float | None = None
    """Bound of Mahloujifar et al. 2024, for a training whose trade-off curve is a Gaussian mechanism's."""
    guessed_members: int = 0
    guessed_holdouts: int = 0
    correct: int = 0
    samples: int = 0

    def __str__(self) -> str:
        """The guesses in words.

        >>> str(AbstainingBound(guessed_members=20, guessed_holdouts=10, correct=28, samples=410))
        '28 of 30 guesses right, of 410 images'
        """
        guesses = self.guessed_members + self.guessed_holdouts
        return f"{self.correct} of {guesses} guesses right, of {self.samples} images"


class EpsilonBound(_Fields):
    """The lower bound on the ε of differential privacy that an attack's decisions give."""

    epsilon: float | None = None
    one_run: float | None = None
    abstaining: AbstainingBound | None = None
    delta: float | None = None
    membership: Membership | None = None
    """How the judged images became members; None in files of versions that don't say."""


class ScorerResults(Metrics):
    """Results of one scorer."""

    threshold: dict[str, float | None] = {}
    unresolved: dict[str, str] = {}
    """Metric → why the sample doesn't resolve it."""
    epsilon_lower_bound: EpsilonBound | None = None
    validation: ValidationResults | None = None


class Privacy(_Fields):
    """Privacy spent by DP-SGD."""

    epsilon: float | None


class SplitFacts(_Fields):
    """Facts of the split."""

    members: int | None = None
    holdouts: int | None = None
    attacked: int | None = None
    holdouts_equal_to_a_member: int | None = None
    copies_within_side: dict[str, int] | None = None
    near_duplicates: dict[str, Any] | None = None
    """Numbers of images that look alike; None where nobody has looked."""
    blind: dict[str, Any] | None = None
    """The check of the split by classifiers that never see the target; None if it wasn't made."""


class Collection(_Fields):
    """Whether the judged members together score higher than the judged hold-outs."""

    n: int
    n_reference: int
    p_mann_whitney: float | None = None


class Excess(_Fields):
    """How far an attack's AUC lies above what is expected without membership."""

    value: float
    ci90: tuple[float, float]
    p_value: float


class Surrogates(_Fields):
    """The answer of a run whose hold-outs are surrogates."""

    verdict: str
    why: str
    kind: str = ""
    """See `secmi_exp.evaluation.excess.Kind`."""
    limit: float | None = None
    """Upper end of the interval of blind's AUC up to which there is an answer."""
    images: int | None = None
    """Number of the collection's images that the verdict is computed from; None without references."""
    references: int | None = None
    """By which the verdict goes; None without."""
    blind: dict[str, Any] | None = None
    """How well a classifier that never sees the target tells collection and references apart; None without."""
    excess: Excess | None = None
    """None where it is not judged, for the reason in `why`."""


class Code(_Fields):
    """Revision of the package that computed the results."""

    revision: str | None = None
    modified: bool | None = None


class Provenance(_Fields):
    """What the numbers were computed from."""

    code: Code = Code()
    members: str | None = None
    attacked: str | None = None
    split: str | None = None
    target: str | None = None
    measured: str | None = None


class Results(ScorerResults):
    """A run's results.json: the results of the attack's own scorer, those of further scorers, and facts of the run."""

    attack: str | None = None
    """None for a run that only trained a target."""
    dataset: str
    target: str
    target_folder: str = ""
    target_trained_here: bool | None = None
    """See `Target.trained_here`; None without a target, and in files of versions that don't say."""
    seed: int | None = None
    split: SplitFacts = SplitFacts()
    timing_s: dict[str, float] = {}
    warnings: list[RunWarning] | None = None
    """None in files of versions that recorded no warnings."""
    n_member: int | None = None
    n_holdout: int | None = None
    queries_per_sample: int | float | None = None
    queries_spent: int = 0
    t_sec: int | None = None
    k: int | None = None
    trajectory: dict[str, Any] | None = None
    surrogates: Surrogates | None = None
    """The answer that surrogate hold-outs allow; None without such."""
    relative_t_error: dict[str, list[float | None]] | None = None
    """Fields of `RelativeTError`; null where there is no finite value."""
    quality: Metrics | None = None
    privacy: Privacy | None = None
    collection: Collection | None = None
    gate: Decision | None = None
    """None without limits."""
    others: dict[str, ScorerResults] = {}
    provenance: Provenance = Provenance()
    versions: dict[str, str | None] = Field(default_factory=dict)

    @property
    def scorers(self) -> dict[str, ScorerResults]:
        """Results by scorer, the attack's own first; empty without an attack."""
        return {self.attack: self, **self.others} if self.attack and self.metrics else {}

    @property
    def graves(self) -> list[RunWarning]:
        """The warnings by which the figures are no measure of a leak."""
        return [warning for warning in self.warnings or [] if warning.grave]

    @property
    def seconds(self) -> float:
        """Wall time of all stages."""
        return float(sum(self.timing_s.values()))

    @property
    def attack_seconds(self) -> float:
        """Wall time of measuring and scoring; what the store had took none."""
        return float(sum(self.timing_s.get(stage, 0.0) for stage in ("signal", "scores")))


def subject(target: str, dataset: str) -> str:
    """What was attacked, as titles have it.

    >>> subject("ddpm", "digits"), subject("none", "scored_images")  # a file of scores, and an attack without a target
    ('ddpm, digits', 'scored_images')
    """
    return dataset if target == "none" else f"{target}, {dataset}"


def read_results(path: Path) -> Results:
    """Read a results.json.

    Raises:
        UserError: if it can't be read or has other content, with the field that is wrong.
    """
    try:
        return Results.model_validate_json(read_regular(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path.name} can't be read ({place}: {first['msg']}).") from error
    except OSError as error:
        raise UserError(f"{path.name} can't be read ({first_line(error)}).") from error
