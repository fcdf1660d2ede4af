"""Quantile regression: an image's t-error against what is to be expected of such an image where it is no member.

Source: Tang et al., "Membership Inference Attacks on Diffusion Models via Quantile Regression" (ICML 2024): small
models, fitted on images that are no members, predict a quantile of the error, each on a bootstrap sample; here
gradient-boosted trees on a coarse view of the image, and the mean margin in place of a majority vote, so that there is
a score.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.image_features import coarse_view
from secmi_exp.attacks.measured import Measured
from secmi_exp.attacks.scorer import Scores
from secmi_exp.runtime import MakeLogger, Runtime
from secmi_exp.store import Json


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Quantile:
    """How far the logarithm of the t-error lies below its predicted quantile."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ()

    alpha: Annotated[float, Field(gt=0, lt=1)]
    """The quantile."""
    models: PositiveInt
    """Regressors, each on a bootstrap sample."""
    seed: NonNegativeInt

    def settings(self) -> dict[str, Json]:
        """All of it."""
        return asdict(self)

    def fit_and_score(
        self,
        measured: Measured,
        fit_rows: NDArray[np.int64],
        is_member: NDArray[np.bool_],
        workspace: Path,
        runtime: Runtime,
        make_logger: MakeLogger,
    ) -> Scores:
        """Fit on the hold-outs of ``fit_rows``, score all."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        views = coarse_view(measured.values["pixels"])
        errors = np.log(np.maximum(np.asarray(measured.values["t_error"], dtype=np.float64), np.finfo(np.float64).tiny))
        public = fit_rows[~is_member]
        random = np.random.default_rng(self.seed)
        margins = np.zeros(len(errors))
        for _ in range(self.models):
            sample = random.choice(public, len(public))
            regressor = HistGradientBoostingRegressor(
                loss="quantile", quantile=self.alpha, max_iter=50, min_samples_leaf=min(20, max(2, len(public) // 8)),
                random_state=self.seed,
            )  # fmt: skip
            margins += regressor.fit(views[sample], errors[sample]).predict(views) - errors
        return margins / self.models
