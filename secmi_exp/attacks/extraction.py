"""Extraction: which images the target's samples copy: those that one is far nearer to than to all others.

Source: Carlini et al., "Extracting Training Data from Diffusion Models" (USENIX Security 2023), the attack on CIFAR-10:
the distance of sample and image, over α times the mean distance of the sample to its n nearest images, with α = 0.5 and
n = 50. There these are images of the training set; here they are the attacked ones, members or not, since measuring
takes no labels.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.signals.sample_comparison import SampleComparisonAttack
from secmi_exp.attacks.signals.sample_distances import least_ratio, mean_of_nearest
from secmi_exp.attacks.signals.sample_features import FeatureRows
from secmi_exp.attacks.signals.samples import measurements_on
from secmi_exp.data.images import Images
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Input, Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PreparedTarget

VERSION = 1
"""Version of the ratios; raised when the same features would give others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Extraction(SampleComparisonAttack):
    """Its value is ``ratio``, min_j ‖x − g_j‖ / (α · mean distance of g_j to its n nearest images); members have less.

    An image whose ratio is at most the threshold counts as extracted.
    """

    finds_copies: ClassVar[bool] = True
    values: ClassVar[tuple[str, ...]] = ("ratio", "pixels")

    neighbours: PositiveInt
    """n."""
    alpha: Annotated[float, Field(gt=0, le=1)]
    """α."""
    threshold: Annotated[float, Field(gt=0, lt=1e6)]
    """Largest ratio of an extracted image; 1: a sample is at most α times as far from it as from its n nearest."""

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """Draw samples and compare them with the images; whatever the store has is reused.

        Raises:
            UserError: where there are fewer images than neighbours.
        """
        if len(images) < self.neighbours:
            raise UserError(
                f"attack.neighbours={self.neighbours} exceeds the {len(images)} attacked images: choose at most that."
            )
        samples = self.sampling.draw(target, images, store, runtime)
        features = self.features_of(samples)
        config: dict[str, Json] = {
            "neighbours": self.neighbours, "alpha": self.alpha, **features.settings, **outside_classes(attack=self),
        }  # fmt: skip
        inputs: dict[str, Input] = {"samples": samples.key, "images": images.digest}
        key = Key("extraction", VERSION, config, inputs, files=("ratios.npy",))

        def build(workspace: Path) -> None:
            log.info("Comparing %d images with %d samples (%s).", len(images), self.samples, self.features)
            rows = FeatureRows(features, images), FeatureRows(features, samples.pixels)
            scale = self.alpha * mean_of_nearest(*rows, self.neighbours)
            np.save(workspace / "ratios.npy", least_ratio(*rows, scale))

        ratios = np.load(store.get_or_build(key, build).path / "ratios.npy")
        measured = measurements_on(samples, {"ratio": ratios}, images, key, self.facts())
        return replace(measured, copied=ratios <= self.threshold)
