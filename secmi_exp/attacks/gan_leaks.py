"""GAN-Leaks: how near the target's samples come to an image. Members are nearer.

Source: Chen, Yu, Zhang and Fritz, "GAN-Leaks: A Taxonomy of Membership Inference Attacks against Generative Models"
(CCS 2020), section 5.2, the full black-box attack without calibration by a reference model.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.signals.sample_comparison import SampleComparisonAttack
from secmi_exp.attacks.signals.samples import measurements_on
from secmi_exp.data.images import Images
from secmi_exp.engine.runtime import Runtime
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class GANLeaks(SampleComparisonAttack):
    """Its value is ``distance``, min_j ‖x − g_j‖_2 over the samples g_j; members have less."""

    values: ClassVar[tuple[str, ...]] = ("distance", "pixels")

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """Draw samples and find the nearest; whatever the store has is reused."""
        samples = self.sampling.draw(target, images, store, runtime)
        distances, key = self.nearest(samples, images, store)
        return measurements_on(samples, {"distance": distances}, images, key, self.facts())
