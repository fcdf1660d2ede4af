"""A classifier on the images alone, which never sees the target: what it finds is the split's fault, and no leak.

Source: Das, Zhang and Tramèr, "Blind Baselines Beat Membership Inference Attacks for Foundation Models" (2024);
Dubiński et al., "Towards More Realistic Membership Inference Attacks on Large Diffusion Models" (WACV 2024).
"""

from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import TargetFree
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.signals.image_features import low_level
from secmi_exp.data.images import Images
from secmi_exp.store import Key
from secmi_exp.store.class_identity import outside_classes

VERSION = 1
"""Version of features and classifier; raised when the same images would get other scores."""

C = 0.01
"""Inverse strength of the penalty: there are often more features than images."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Blind(TargetFree):
    """Its ``features`` [n, F] are the images' own: see `low_level`. No query.

    It queries no target, so that it doesn't see prompts; every run's check of its split does, and more: see
    `secmi_exp.data.checks.blind_views`.
    """

    values: ClassVar[tuple[str, ...]] = ("features",)

    def measure_images(self, images: Images) -> Measurements:
        """See `TargetFree.measure_images`."""
        key = Key("blind", VERSION, outside_classes(attack=self), {"images": images.digest})
        return Measurements({"features": low_level(images)}, queries_per_sample=0, queries_spent=0, key=key)
