"""Judging an attack's scores on the part that nothing was fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from secmi_exp.evaluation.bootstrap import bootstrap
from secmi_exp.evaluation.confusion import Confusion
from secmi_exp.evaluation.delong import auc_interval
from secmi_exp.evaluation.operating_points import OperatingPoint, operating_points, tpr_metric
from secmi_exp.evaluation.roc import Roc, asr_interval, unresolved
from secmi_exp.evaluation.scored import Interval, Scored

LOW_FPRS = (0.01, 0.001)
"""False-positive rates at which true-positive rates are read."""

LOG_PAUC_FROM = 0.001
"""False-positive rate at which log_pauc starts. Fixed, since areas from different rates can't be compared."""


CALIBRATED = ("accuracy_calibrated", "precision_calibrated", "recall_calibrated", "epsilon_lower_bound")
"""What needs a threshold that was calibrated on other samples than those judged."""


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
    TPRs) and log_pauc: bootstrap. Without a calibration set, where samples may be few: asr by `asr_interval`, and TPRs
    at least as wide as Clopper–Pearson's."""
    validation: Validation | None
    """On the calibration set; None without one."""
    unresolved: Mapping[str, str] = field(default_factory=dict)
    """Metric → why this sample size gives no number."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """oracle: best on the very set judged, as the paper does; calibrated: best on the calibration set, if any."""
    operating_points: Mapping[str, OperatingPoint] = field(default_factory=dict)
    """TPR metric → its threshold, and intervals that hold it fixed."""
    roc: Roc | None = field(default=None, repr=False)


def judge(
    evaluation: Scored, calibration: Scored | None, *, rounds: int, seed: int, low_fprs: Sequence[float] = LOW_FPRS
) -> Judgement:
    """Metrics with 95% intervals.

    Args:
        evaluation: what the attack is judged on.
        calibration: other samples that nothing was fitted on; the calibrated threshold is chosen on them. None where
            there are none: what needs that threshold is unresolved.
        rounds: bootstrap resamples.
        seed: of the bootstrap.
        low_fprs: false-positive rates at which true-positive rates are read, each in (0, 1).

    Raises:
        UserError: for scores that are not finite, or a side without samples.
    """
    scores, is_member = evaluation.scores, evaluation.is_member
    roc = Roc.from_scores(scores, is_member)
    oracle, asr = roc.best_threshold()
    n_member = int(is_member.sum())
    n_holdout = len(is_member) - n_member
    calibration_roc = calibration and Roc.from_scores(calibration.scores, calibration.is_member)
    calibrated = calibration_roc.best_threshold()[0] if calibration_roc else None
    confusion = None if calibrated is None else Confusion.at(scores, is_member, calibrated)
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
        "accuracy_calibrated": confusion.balanced_accuracy if confusion else None,
        "precision_calibrated": confusion.precision if confusion else None,
        "recall_calibrated": confusion.recall if confusion else None,
        "log_pauc": roc.log_pauc(n_holdout, LOG_PAUC_FROM) if area_resolved else None,
    }
    ci95 = {name: resampled.get(name) for name in metrics} | {"auc": auc_interval(scores, is_member)}
    if confusion:
        ci95 |= {
            "accuracy_calibrated": confusion.balanced_accuracy_interval(),
            "precision_calibrated": confusion.precision_interval(),
            "recall_calibrated": confusion.recall_interval(),
        }
    else:
        ci95["asr"] = asr_interval(asr, n_member, n_holdout)
        ci95 |= {name: _hull(resampled[name], point.tpr_interval) for name, point in points.items()}
    return Judgement(
        n_member=n_member,
        n_holdout=n_holdout,
        metrics=metrics,
        ci95=ci95,
        validation=Validation.from_scores(calibration, calibration_roc) if calibration and calibration_roc else None,
        unresolved=_unresolved(n_holdout, low_fprs, confusion),
        thresholds={"oracle": oracle} | ({} if calibrated is None else {"calibrated": calibrated}),
        operating_points=points,
        roc=roc,
    )


def _hull(first: Interval, second: Interval) -> Interval:
    return min(first[0], second[0]), max(first[1], second[1])


def _unresolved(n_holdout: int, low_fprs: Sequence[float], confusion: Confusion | None) -> dict[str, str]:
    """Metric → reason."""
    needed = {**{tpr_metric(max_fpr): max_fpr for max_fpr in low_fprs}, "log_pauc": LOG_PAUC_FROM}
    reasons = {name: reason for name, max_fpr in needed.items() if (reason := unresolved(max_fpr, n_holdout))}
    if not confusion:
        reasons |= dict.fromkeys(CALIBRATED, "no images are left to calibrate a threshold on")
    elif not confusion.called:
        reasons["precision_calibrated"] = "the calibrated threshold calls no sample a member"
    return reasons
