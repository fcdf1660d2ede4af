"""A classifier on the images alone, which never sees the target: what it finds is the split's fault, and no leak.

Source: Das, Zhang and Tramèr, "Blind Baselines Beat Membership Inference Attacks for Foundation Models" (2024);
Dubiński et al., "Towards More Realistic Membership Inference Attacks on Large Diffusion Models" (WACV 2024).
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import TargetFree
from secmi_exp.attacks.feature_classifier import classifier
from secmi_exp.attacks.image_features import low_level
from secmi_exp.attacks.measured import Measured
from secmi_exp.data.images import Images
from secmi_exp.store import Key

VERSION = 1
"""Of the features and the classifier; raised when the same images would get other scores."""

FOLDS = 5
C = 0.01
"""Inverse strength of the penalty: there are often more features than images."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Blind(TargetFree):
    """Its ``features`` [n, F] are the images' own: see `low_level`. No query."""

    def look(self, images: Images) -> Measured:
        """At their pixels."""
        key = Key("blind", VERSION, {}, {"images": images.digest})
        return Measured({"features": low_level(images)}, queries_per_sample=0, queries_spent=0, key=key)


def cross_fitted_scores(images: Images, is_member: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
    """Log-odds of membership by a classifier that was fitted on four fifths of the images, this one not among them. [n]

    Log-odds of all folds are ranked together; that the folds' classifiers differ only blurs them.

    Args:
        images: n of them.
        is_member: their labels, [n].
        seed: of the folds.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(min(FOLDS, int(min(is_member.sum(), (~is_member).sum()))), shuffle=True, random_state=seed)
    scores: NDArray[np.float64] = cross_val_predict(
        classifier("linear", C, seed), low_level(images), is_member, cv=folds, method="decision_function"
    )
    return scores
