"""Scores whose true AUC is known: members N(shift, 1), hold-outs N(0, 1)."""

import math
from statistics import NormalDist

import numpy as np

from secmi_exp.evaluation.scored import Scored


def normal_scores(rng: np.random.Generator, n_member: int, n_holdout: int, shift: float) -> Scored:
    is_member = np.arange(n_member + n_holdout) < n_member
    return Scored(rng.normal(shift * is_member), is_member)


def true_auc(shift: float) -> float:
    return NormalDist().cdf(shift / math.sqrt(2.0))
