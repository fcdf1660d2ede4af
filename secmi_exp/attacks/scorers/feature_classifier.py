"""A classifier of scikit-learn's on the attack's features, fitted on the attack-train part."""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, NonNegativeInt, PositiveFloat
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import Fitting, LearnedScorer, Scores
from secmi_exp.deferred import Deferred
from secmi_exp.files.strict_json import Json
from secmi_exp.store.listed import listed

HistGradientBoostingClassifier = Deferred("sklearn.ensemble:HistGradientBoostingClassifier")
LogisticRegression = Deferred("sklearn.linear_model:LogisticRegression")
make_pipeline = Deferred("sklearn.pipeline:make_pipeline")
StandardScaler = Deferred("sklearn.preprocessing:StandardScaler")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FeatureClassifier(LearnedScorer):
    """Log-odds of membership by logistic regression on standardised features, or by gradient-boosted trees."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("features",)

    model: Literal["linear", "boosted"]
    logarithm: bool
    """Whether features are taken by their logarithm; one that is negative for any image is taken as it is."""
    C: PositiveFloat
    """Inverse strength of the linear model's L2 penalty."""
    seed: NonNegativeInt

    def chosen_by(self, measured: Measurements) -> dict[str, Json]:
        """Numbers of the features that have no logarithm, if any."""
        signed = np.flatnonzero(_signed(_features(measured)) & self.logarithm)
        return {"signed": listed(signed)} if len(signed) else {}

    def fit_and_score(self, measured: Measurements, fitting: Fitting) -> Scores:
        """Fit on the features of the fitted rows, score all; higher = more likely a member."""
        features = _features(measured)
        if self.logarithm:
            logarithms = np.log(np.maximum(features, np.finfo(np.float64).tiny))  # of zeros, too
            features = np.where(_signed(features), features, logarithms)
        model = classifier(self.model, self.C, self.seed).fit(features[fitting.rows], fitting.is_member)
        scores: Scores = model.decision_function(features)
        return scores


def _features(measured: Measurements) -> NDArray[np.float64]:
    """[n, F]."""
    return np.asarray(measured.values["features"], dtype=np.float64)


def _signed(features: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which features are negative for any image, fitted on or not, [F]."""
    return np.asarray((features < 0).any(axis=0))


def classifier(model: Literal["linear", "boosted"], C: float, seed: int) -> Any:
    """Make an unfitted classifier with a decision function."""
    if model == "boosted":
        return HistGradientBoostingClassifier(random_state=sklearn_seed(seed))
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))


def sklearn_seed(seed: int) -> int:
    """Return a seed's remainder by 2³², the number of seeds that scikit-learn accepts.

    >>> sklearn_seed(3), sklearn_seed(2**32 + 3)
    (3, 3)
    """
    return seed % 2**32
