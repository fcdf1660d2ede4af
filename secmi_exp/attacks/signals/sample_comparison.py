"""Attacks that compare images with the target's samples, by features and distances."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.sample_distances import Distances, nearest
from secmi_exp.attacks.signals.sample_features import FeatureKind, FeatureRows, Features
from secmi_exp.attacks.signals.samples import SampledAttack, Samples
from secmi_exp.data.images import Images
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Input, Key, Store
from secmi_exp.store.class_identity import outside_classes

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the distances; raised when the same features would give others."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SampleComparisonAttack(SampledAttack):
    """Its fields are those of `Features`."""

    features: FeatureKind
    pca_components: PositiveInt
    hog_cell: PositiveInt
    histogram_bins: PositiveInt

    def features_of(self, samples: Samples) -> Features:
        """Return the features by which images are compared with these samples."""
        return Features(self.features, self.pca_components, self.hog_cell, self.histogram_bins, samples=samples.pixels)

    def nearest(self, samples: Samples, images: Images, store: Store) -> tuple[Distances, Key]:
        """Return each image's distance to its nearest sample, [n], and the key of these distances."""
        features = self.features_of(samples)
        inputs: dict[str, Input] = {"samples": samples.key, "images": images.digest}
        config = {**features.settings, **outside_classes(attack=self)}
        key = Key("nearest", VERSION, config, inputs, files=("distances.npy",))

        def build(workspace: Path) -> None:
            log.info("Comparing %d images with %d samples (%s).", len(images), self.samples, self.features)
            found = nearest(FeatureRows(features, images), FeatureRows(features, samples.pixels))
            np.save(workspace / "distances.npy", found)

        return np.load(store.get_or_build(key, build).path / "distances.npy"), key

    def facts(self) -> dict[str, Json]:
        """See `SampledAttack.facts`; with the kind of features."""
        return super().facts() | {"features": self.features}
