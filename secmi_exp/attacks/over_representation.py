"""Over-representation: members lie where the target generates more than there is of the data.

Source: Hu and Pang, "Membership Inference Attacks against GANs by Leveraging Over-representation Regions" (CCS 2021,
poster); not compared with their code. The density ratio p_generated(x) / p_data(x) is estimated by a classifier that
tells samples of the target from reference images that are no members.
"""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, NonNegativeInt, PositiveFloat
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.feature_classifier import classifier
from secmi_exp.attacks.scorers.scorer import Fitting, LearnedScorer, Scores
from secmi_exp.attacks.signals.sample_comparison import SampleComparisonAttack
from secmi_exp.attacks.signals.sample_features import FeatureRows
from secmi_exp.attacks.signals.samples import measurements_on
from secmi_exp.data.images import Images
from secmi_exp.data.slices import slices
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PreparedTarget

VERSION = 1
"""Version of the measurements; raised when the same features would give other scores."""
SCORED_AT_ONCE = 4096
"""Images a batch."""


@plain_dataclass(frozen=True)
class MeasurementsWithSamples(Measurements):
    """The target's samples are there too, seen through the same features as the images."""

    samples: FeatureRows | None = None
    """[M, F]."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class OverRepresentation(SampleComparisonAttack):
    """Its ``features`` [n, F] are the images', computed when a batch of them is asked for."""

    values: ClassVar[tuple[str, ...]] = ("features", "pixels")

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """Draw samples, or find them in the store."""
        samples = self.sampling.draw(target, images, store, runtime)
        features = self.features_of(samples)
        config = {**features.settings, **outside_classes(attack=self)}
        key = Key("features", VERSION, config, {"samples": samples.key, "images": images.digest})
        values = {"features": FeatureRows(features, images)}
        measured = measurements_on(samples, values, images, key, self.facts())
        return MeasurementsWithSamples(**vars(measured), samples=FeatureRows(features, samples.pixels))


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DensityRatio(LearnedScorer):
    """log p_generated(x) / p_data(x) up to a constant: log-odds by which a classifier takes an image for a sample."""

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("features",)

    model: Literal["linear", "boosted"]
    """Logistic regression on standardised features, or gradient-boosted trees."""
    C: PositiveFloat
    """Inverse strength of the linear model's L2 penalty."""
    seed: NonNegativeInt

    def fit_and_score(self, measured: Measurements, fitting: Fitting) -> Scores:
        """Tell the samples from the hold-outs of the fitted rows, score all.

        Raises:
            UserError: for an attack that has drawn no samples.
        """
        if not isinstance(measured, MeasurementsWithSamples) or measured.samples is None:
            raise UserError(
                "The scorer DensityRatio needs samples of the target: use it with attack=over_representation."
            )
        features = measured.values["features"]
        reference, samples = features[fitting.rows[~fitting.is_member]], measured.samples[:]
        labels = np.arange(len(samples) + len(reference)) < len(samples)
        model = classifier(self.model, self.C, self.seed).fit(np.concatenate([samples, reference]), labels)
        batches = slices(len(features), SCORED_AT_ONCE)
        scores: Scores = np.concatenate([model.decision_function(features[batch]) for batch in batches])
        return scores
