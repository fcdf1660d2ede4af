"""Judging an attack's scores on the part that nothing was fitted on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secmi_exp.evaluation.bootstrap import bootstrap
from secmi_exp.evaluation.roc import Floats, Roc, balanced_accuracy

LOW_FPRS = {"tpr_at_1pct_fpr": 0.01, "tpr_at_0.1pct_fpr": 0.001}
"""Metric → the false-positive rate it is read at."""


@dataclass(frozen=True)
class Scored:
    """Scores with their labels."""

    scores: Floats
    """[n], higher = more likely a member."""
    is_member: NDArray[np.bool_]
    """[n]."""


@dataclass(frozen=True)
class Judgement:
    """How well an attack tells members from hold-outs."""

    n_member: int
    n_holdout: int
    metrics: Mapping[str, float | None]
    """auc, asr (with the oracle threshold), TPRs at low FPRs, accuracy_calibrated; None where unresolved."""
    ci95: Mapping[str, tuple[float, float] | None]
    unresolved: Mapping[str, str] = field(default_factory=dict)
    """Metric → why this sample size gives no number."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """oracle: best on the very set judged, as the paper does; calibrated: best on the calibration set."""
    roc: Roc | None = field(default=None, repr=False)


def judge(evaluation: Scored, calibration: Scored, *, rounds: int, seed: int) -> Judgement:
    """Metrics with bootstrap intervals.

    Args:
        evaluation: what the attack is judged on.
        calibration: other samples, on which the calibrated threshold is chosen.
        rounds: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        UserError: for scores that are not finite, or a side without samples.
    """
    n_member = int(evaluation.is_member.sum())
    n_holdout = len(evaluation.is_member) - n_member
    roc = Roc.of(evaluation.scores, evaluation.is_member)
    oracle, asr = roc.best_threshold()
    calibrated, _ = Roc.of(calibration.scores, calibration.is_member).best_threshold()
    unresolved = {
        name: f"{max_fpr:.1%} FPR needs at least {round(1 / max_fpr):,} hold-outs, and there are {n_holdout:,}"
        for name, max_fpr in LOW_FPRS.items()
        if n_holdout * max_fpr < 1
    }
    resolved = {name: max_fpr for name, max_fpr in LOW_FPRS.items() if name not in unresolved}
    intervals = bootstrap(
        evaluation.scores,
        evaluation.is_member,
        max_fprs=resolved,
        threshold=calibrated,
        rounds=rounds,
        seed=seed,
    )
    metrics: dict[str, float | None] = {"auc": roc.auc, "asr": asr}
    metrics |= {name: roc.tpr_at(resolved[name], n_holdout) if name in resolved else None for name in LOW_FPRS}
    metrics["accuracy_calibrated"] = balanced_accuracy(evaluation.scores, evaluation.is_member, calibrated)
    return Judgement(
        n_member=n_member,
        n_holdout=n_holdout,
        metrics=metrics,
        ci95={name: intervals.get(name) for name in metrics},
        unresolved=unresolved,
        thresholds={"oracle": oracle, "calibrated": calibrated},
        roc=roc,
    )
