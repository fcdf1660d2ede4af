"""Several attacks on the same samples: which differ, and by how much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from secmi_exp.errors import UserError
from secmi_exp.evaluation.bootstrap import resampled_metrics
from secmi_exp.evaluation.delong import paired_test
from secmi_exp.evaluation.multiple_testing import holm
from secmi_exp.evaluation.operating_points import tpr_metric
from secmi_exp.evaluation.roc import Roc, unresolved
from secmi_exp.evaluation.scored import Bools, Floats


@dataclass(frozen=True)
class Comparison:
    """Row less column, for k attacks."""

    names: tuple[str, ...]
    """[k]."""
    values: Mapping[str, Floats]
    """Metric → [k], for auc, asr and the resolved TPRs."""
    differences: Mapping[str, Floats]
    """Metric → [k, k]."""
    ci95: Mapping[str, Floats]
    """Metric → [k, k, 2]: percentile bootstrap, all attacks on the same resamples; each pair by itself."""
    p_values: Floats
    """[k, k], symmetric, 1 on the diagonal: DeLong's paired test of equal AUCs, each pair by itself."""
    p_adjusted: Floats
    """[k, k]: Holm's correction for the k(k − 1)/2 pairs."""


def compare(
    scores: Mapping[str, Floats],
    is_member: Bools,
    *,
    rounds: int,
    seed: int,
    max_fprs: Sequence[float] = (0.01, 0.001),
) -> Comparison:
    """Compare attacks by their scores of the same samples.

    Args:
        scores: attack → [n], at least two.
        is_member: [n].
        rounds: bootstrap resamples.
        seed: of the bootstrap.
        max_fprs: false-positive rates at which true-positive rates are compared, where the hold-outs resolve them.

    Raises:
        UserError: for fewer than two attacks, scores of another number of samples, a score that is not finite, or a
            side without samples.
    """
    if len(scores) < 2:
        raise UserError(f"A comparison needs at least two attacks, and there is {len(scores)}.")
    for name, values in scores.items():
        if values.shape != is_member.shape:
            raise UserError(
                f"Attacks are compared on the same samples, but {name} has {len(values):,} scores for "
                f"{len(is_member):,} samples."
            )
    rocs = [Roc.from_scores(each, is_member) for each in scores.values()]
    n_holdout = int(np.count_nonzero(~is_member))
    named = {tpr_metric(max_fpr): max_fpr for max_fpr in max_fprs if not unresolved(max_fpr, n_holdout)}
    metrics = {
        "auc": np.array([roc.auc for roc in rocs]),
        "asr": np.array([roc.best_threshold()[1] for roc in rocs]),
        **{name: np.array([roc.tpr_at(max_fpr, n_holdout) for roc in rocs]) for name, max_fpr in named.items()},
    }
    resampled = resampled_metrics(list(scores.values()), is_member, max_fprs=named, rounds=rounds, seed=seed)
    p_values, p_adjusted = _paired_p_values(list(scores.values()), is_member)
    return Comparison(
        names=tuple(scores),
        values=metrics,
        differences={name: each[:, None] - each[None, :] for name, each in metrics.items()},
        ci95={name: _difference_intervals(resampled[name]) for name in metrics},
        p_values=p_values,
        p_adjusted=p_adjusted,
    )


def _paired_p_values(score_sets: Sequence[Floats], is_member: Bools) -> tuple[Floats, Floats]:
    """Raw and adjusted, [k, k] each."""
    pairs = list(combinations(range(len(score_sets)), 2))
    raw = np.array([paired_test(score_sets[row], score_sets[column], is_member).p_value for row, column in pairs])
    matrices = np.ones((2, len(score_sets), len(score_sets)))
    for (row, column), each, adjusted in zip(pairs, raw, holm(raw), strict=True):
        matrices[:, row, column] = matrices[:, column, row] = each, adjusted
    return matrices[0], matrices[1]


def _difference_intervals(values: Floats) -> Floats:
    """[k, k, 2] of values [rounds, k]."""
    ends = np.percentile(values[:, :, None] - values[:, None, :], [2.5, 97.5], axis=0)
    return np.moveaxis(ends, 0, -1)
