"""Attacks that compare images with the target's samples, by features and distances."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.sample_distances import Distances, nearest
from secmi_exp.attacks.signals.sample_features import FeatureKind, FeatureRows, Features
from secmi_exp.attacks.signals.samples import Generated, SampledAttack
from secmi_exp.data.images import Images
from secmi_exp.store import Input, Json, Key, Store
from secmi_exp.store.class_identity import outside_classes

log = logging.getLogger(__name__)

VERSION = 1
"""Of the distances; raised when the same features would give others."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SampleComparisonAttack(SampledAttack):
    """Its fields are those of `Features`."""

    features: FeatureKind
    pca_components: PositiveInt
    hog_cell: PositiveInt
    histogram_bins: PositiveInt

    def features_of(self, generated: Generated) -> Features:
        """By which images are compared with these samples."""
        return Features(
            self.features, self.pca_components, self.hog_cell, self.histogram_bins, samples=generated.pixels
        )

    def nearest(self, generated: Generated, images: Images, store: Store) -> tuple[Distances, Key]:
        """Each image's distance to the sample nearest to it, [n], from the store or computed; and its key."""
        features = self.features_of(generated)
        inputs: dict[str, Input] = {"samples": generated.key, "images": images.digest}
        config = {**features.settings, **outside_classes(attack=self)}
        key = Key("nearest", VERSION, config, inputs, files=("distances.npy",))

        def build(workspace: Path) -> None:
            log.info("Comparing %d images with %d samples (%s).", len(images), self.samples, self.features)
            found = nearest(FeatureRows(features, images), FeatureRows(features, generated.pixels))
            np.save(workspace / "distances.npy", found)

        return np.load(store.get_or_build(key, build).path / "distances.npy"), key

    def facts(self) -> dict[str, Json]:
        """Of the samples, and what they are compared by."""
        return super().facts() | {"features": self.features}
