"""A classifier of scikit-learn's on the attack's features, fitted on the attack-train part."""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, NonNegativeInt, PositiveFloat
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import Fitting, LearnedScorer, Scores
from secmi_exp.deferred import Deferred

HistGradientBoostingClassifier = Deferred("sklearn.ensemble:HistGradientBoostingClassifier")
LogisticRegression = Deferred("sklearn.linear_model:LogisticRegression")
make_pipeline = Deferred("sklearn.pipeline:make_pipeline")
StandardScaler = Deferred("sklearn.preprocessing:StandardScaler")

SKLEARN_SEEDS = 2**32
"""Number of seeds that scikit-learn accepts; a larger seed is taken modulo this."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FeatureClassifier(LearnedScorer):
    """Log-odds of membership by logistic regression on standardised features, or by gradient-boosted trees."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("features",)

    model: Literal["linear", "boosted"]
    logarithm: bool
    """Whether features, all positive, are taken by their logarithm."""
    C: PositiveFloat
    """Inverse strength of the linear model's L2 penalty."""
    seed: NonNegativeInt

    def fit_and_score(self, measured: Measurements, fitting: Fitting) -> Scores:
        """Fit on the features of the fitted rows, score all; higher = more likely a member."""
        features = np.asarray(measured.values["features"], dtype=np.float64)
        if self.logarithm:
            features = np.log(np.maximum(features, np.finfo(np.float64).tiny))
        model = classifier(self.model, self.C, self.seed).fit(features[fitting.rows], fitting.is_member)
        scores: Scores = model.decision_function(features)
        return scores


def classifier(model: Literal["linear", "boosted"], C: float, seed: int) -> Any:
    """Make an unfitted classifier with a decision function."""
    if model == "boosted":
        return HistGradientBoostingClassifier(random_state=seed % SKLEARN_SEEDS)
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
