"""Judging an attack's scores on the part that nothing was fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from secmi_exp.evaluation.bootstrap import bootstrap
from secmi_exp.evaluation.confusion import Confusion
from secmi_exp.evaluation.delong import auc_interval
from secmi_exp.evaluation.operating_points import OperatingPoint, operating_points, tpr_metric
from secmi_exp.evaluation.roc import Roc, unresolved
from secmi_exp.evaluation.scored import Interval
from secmi_exp.evaluation.scored import Scored as Scored

LOW_FPRS = (0.01, 0.001)
"""False-positive rates at which true-positive rates are read."""

LOG_PAUC_FROM = 0.001
"""False-positive rate at which log_pauc starts. Fixed, since areas from different rates can't be compared."""


@dataclass(frozen=True)
class Validation:
    """The AUC by which settings may be chosen: on samples that neither fitted nor evaluate the attack."""

    n_member: int
    n_holdout: int
    auc: float
    ci95: Interval
    """DeLong; of this one attack, not of the best of several."""

    @classmethod
    def from_scores(cls, samples: Scored, roc: Roc) -> "Validation":
        """The validation on samples with this ROC."""
        is_member = samples.is_member
        n_member = int(is_member.sum())
        return cls(n_member, len(is_member) - n_member, roc.auc, auc_interval(samples.scores, is_member))


@dataclass(frozen=True)
class Judgement:
    """How well an attack tells members from hold-outs."""

    n_member: int
    n_holdout: int
    metrics: Mapping[str, float | None]
    """auc, asr (with the oracle threshold), TPRs at low FPRs, log_pauc; accuracy, precision and recall at the
    calibrated threshold; None where unresolved."""
    ci95: Mapping[str, Interval | None]
    """auc: DeLong; at the calibrated threshold: Clopper–Pearson; what chooses its threshold on these very samples (asr,
    TPRs) and log_pauc: bootstrap."""
    validation: Validation
    """On the calibration set."""
    unresolved: Mapping[str, str] = field(default_factory=dict)
    """Metric → why this sample size gives no number."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """oracle: best on the very set judged, as the paper does; calibrated: best on the calibration set."""
    operating_points: Mapping[str, OperatingPoint] = field(default_factory=dict)
    """TPR metric → its threshold, and intervals that hold it fixed."""
    roc: Roc | None = field(default=None, repr=False)


def judge(
    evaluation: Scored, calibration: Scored, *, rounds: int, seed: int, low_fprs: Sequence[float] = LOW_FPRS
) -> Judgement:
    """Metrics with 95% intervals.

    Args:
        evaluation: what the attack is judged on.
        calibration: other samples that nothing was fitted on; the calibrated threshold is chosen on them.
        rounds: bootstrap resamples.
        seed: of the bootstrap.
        low_fprs: false-positive rates at which true-positive rates are read, each in (0, 1).

    Raises:
        UserError: for scores that are not finite, or a side without samples.
    """
    scores, is_member = evaluation.scores, evaluation.is_member
    roc = Roc.from_scores(scores, is_member)
    oracle, asr = roc.best_threshold()
    calibration_roc = Roc.from_scores(calibration.scores, calibration.is_member)
    calibrated, _ = calibration_roc.best_threshold()
    confusion = Confusion.at(scores, is_member, calibrated)
    n_member, n_holdout = confusion.n_member, confusion.n_holdout
    points = operating_points(scores, is_member, low_fprs)
    area_resolved = not unresolved(LOG_PAUC_FROM, n_holdout)
    resampled = bootstrap(
        scores,
        is_member,
        max_fprs={name: point.max_fpr for name, point in points.items()},
        threshold=calibrated,
        rounds=rounds,
        seed=seed,
        log_pauc_from=LOG_PAUC_FROM if area_resolved else None,
    )
    low_tprs = [tpr_metric(max_fpr) for max_fpr in low_fprs]
    metrics = {
        "auc": roc.auc,
        "asr": asr,
        **{name: points[name].tpr if name in points else None for name in low_tprs},
        "accuracy_calibrated": confusion.balanced_accuracy,
        "precision_calibrated": confusion.precision,
        "recall_calibrated": confusion.recall,
        "log_pauc": roc.log_pauc(n_holdout, LOG_PAUC_FROM) if area_resolved else None,
    }
    ci95 = {name: resampled.get(name) for name in metrics} | {
        "auc": auc_interval(scores, is_member),
        "accuracy_calibrated": confusion.balanced_accuracy_interval(),
        "precision_calibrated": confusion.precision_interval(),
        "recall_calibrated": confusion.recall_interval(),
    }
    return Judgement(
        n_member=n_member,
        n_holdout=n_holdout,
        metrics=metrics,
        ci95=ci95,
        validation=Validation.from_scores(calibration, calibration_roc),
        unresolved=_unresolved(n_holdout, low_fprs, called=confusion.called),
        thresholds={"oracle": oracle, "calibrated": calibrated},
        operating_points=points,
        roc=roc,
    )


def _unresolved(n_holdout: int, low_fprs: Sequence[float], *, called: int) -> dict[str, str]:
    """Metric → reason."""
    needed = {**{tpr_metric(max_fpr): max_fpr for max_fpr in low_fprs}, "log_pauc": LOG_PAUC_FROM}
    reasons = {name: reason for name, max_fpr in needed.items() if (reason := unresolved(max_fpr, n_holdout))}
    if not called:
        reasons["precision_calibrated"] = "the calibrated threshold calls no sample a member"
    return reasons
