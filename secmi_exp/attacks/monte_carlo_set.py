"""The Monte-Carlo attack: how many of the target's samples lie close to an image. Members have more.

Source: Hilprecht, Härterich and Bernau, "Monte Carlo and Reconstruction Membership Inference Attacks against Generative
Models" (PoPETs 2019), section 4.1. Its set form ranks single images first, and then takes the half of the higher sum;
here is the ranking.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.signals.sample_comparison import SampleComparisonAttack
from secmi_exp.attacks.signals.sample_distances import Distances, blocks
from secmi_exp.attacks.signals.sample_features import FeatureRows
from secmi_exp.attacks.signals.samples import measurements_on
from secmi_exp.data.images import Images
from secmi_exp.engine.runtime import Runtime
from secmi_exp.store import Key, Store, write_json
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PreparedTarget

VERSION = 1
"""Version of the values; raised when the same distances would give others."""
PAIRS = 2**24
"""Most pairs of an image and a sample from which a percentile is computed; images are left out evenly beyond that."""
SMALLEST = 1e-6
"""Added to distances, so that an exact copy has a logarithm."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class MonteCarloSet(SampleComparisonAttack):
    """Its values are ``concentration``, of which members have more, and ``distance`` to the nearest sample.

    The radius is chosen without labels, from the distances of all attacked images.
    """

    values: ClassVar[tuple[str, ...]] = ("concentration", "distance", "pixels")

    distance: Literal["log", "count"]
    """count: 1/M Σ_j 1[d_j ≤ ε], the share of samples within the radius ε. log: each of them weighs −log(d_j/ε). The
    paper's −log d_j has no ε, and changes its sign at d_j = 1, where samples within the radius would count against."""
    radius: Literal["median"] | Annotated[float, Field(gt=0, lt=100)]
    """ε. median: of the images' distances to their nearest samples. A number: that percentile of all distances."""

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """Draw samples, choose the radius and count; whatever the store has is reused."""
        samples = self.sampling.draw(target, images, store, runtime)
        distances, nearest_key = self.nearest(samples, images, store)
        key = Key(
            "concentration",
            VERSION,
            {"distance": self.distance, "radius": self.radius, **outside_classes(attack=self)},
            {"nearest": nearest_key},
            files=("concentration.npy", "radius.json"),
        )

        def build(workspace: Path) -> None:
            features = self.features_of(samples)
            image_rows, sample_rows = FeatureRows(features, images), FeatureRows(features, samples.pixels)
            if self.radius == "median":
                radius = float(np.median(distances))
            else:
                radius = percentile(image_rows, sample_rows, self.radius)
            np.save(workspace / "concentration.npy", concentration(image_rows, sample_rows, radius, self.distance))
            write_json(workspace / "radius.json", {"radius": radius})

        entry = store.get_or_build(key, build).path
        radius = json.loads((entry / "radius.json").read_text(encoding="utf-8"))["radius"]
        values = {"concentration": np.load(entry / "concentration.npy"), "distance": distances}
        return measurements_on(samples, values, images, key, self.facts() | {"radius": radius})


def concentration(
    images: FeatureRows, samples: FeatureRows, radius: float, distance: Literal["log", "count"]
) -> Distances:
    """1/M Σ_j 1[d_j ≤ ε] w(d_j) with w = 1 or −log(d_j/ε), [n]."""
    total = np.zeros(len(images))
    for rows, _, distances in blocks(images, samples):
        within = distances <= radius
        weights = within if distance == "count" else -np.log((distances + SMALLEST) / (radius + SMALLEST)) * within
        total[rows] += weights.sum(axis=1)
    return total / len(samples)


def percentile(images: FeatureRows, samples: FeatureRows, percent: float) -> float:
    """A percentile of the distances between images and samples."""
    every = -(-len(images) * len(samples) // PAIRS)
    some = FeatureRows(images.features, images.images[np.arange(0, len(images), every)])
    return float(np.percentile(np.concatenate([block.ravel() for *_, block in blocks(some, samples)]), percent))
