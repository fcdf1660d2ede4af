"""Quantile regression: an image's t-error against what is to be expected of such an image where it is no member.

Source: Tang et al., "Membership Inference Attacks on Diffusion Models via Quantile Regression" (ICML 2024): small
models, fitted on images that are no members, predict a quantile of the error, each on a bootstrap sample; here
gradient-boosted trees on a coarse view of the image, and the mean margin in place of a majority vote, so that there is
a score.
"""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.feature_classifier import sklearn_seed
from secmi_exp.attacks.scorers.scorer import Fitting, LearnedScorer, Scores
from secmi_exp.attacks.signals.image_features import coarse_view
from secmi_exp.deferred import Deferred

HistGradientBoostingRegressor = Deferred("sklearn.ensemble:HistGradientBoostingRegressor")

TREES = 50
"""Trees of a regressor."""
SMALLEST_LEAF, LEAVES = 20, 8
"""Images in a leaf: scikit-learn's own number, but so few that a small public set has so many leaves."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Quantile(LearnedScorer):
    """How far the logarithm of the t-error lies below its predicted quantile."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("pixels", "t_error")

    alpha: Annotated[float, Field(gt=0, lt=1)]
    """The quantile."""
    models: PositiveInt
    """Regressors, each on a bootstrap sample."""
    seed: NonNegativeInt

    def fit_and_score(self, measured: Measurements, fitting: Fitting) -> Scores:
        """Fit on the hold-outs of the fitted rows, score all."""
        views = coarse_view(measured.values["pixels"])
        errors = np.log(np.maximum(np.asarray(measured.values["t_error"], dtype=np.float64), np.finfo(np.float64).tiny))
        public = fitting.rows[~fitting.is_member]
        leaf = min(SMALLEST_LEAF, max(2, len(public) // LEAVES))
        random = np.random.default_rng(self.seed)
        margins = np.zeros(len(errors))
        for _ in range(self.models):
            sample = random.choice(public, len(public))
            regressor = HistGradientBoostingRegressor(
                loss="quantile",
                quantile=self.alpha,
                max_iter=TREES,
                min_samples_leaf=leaf,
                random_state=sklearn_seed(self.seed),
            )
            margins += regressor.fit(views[sample], errors[sample]).predict(views) - errors
        return margins / self.models
