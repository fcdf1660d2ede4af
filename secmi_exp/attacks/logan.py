"""LOGAN: a GAN of the attacker's own learns the target's samples, and its discriminator ranks images.

Source: Hayes, Melis, Danezis and De Cristofaro, "LOGAN: Membership Inference Attacks Against Generative Models" (PoPETs
2019), the black-box attack without auxiliary knowledge: samples of the target are what is real to the local GAN, whose
discriminator then is surer of members. The white-box attack has no counterpart here, since a diffusion model has no
discriminator.
"""

import logging
from dataclasses import fields
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.finite_values import rows_not_finite
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.signals.samples import SampledAttack, Samples, measurements_on
from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Input, Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PreparedTarget

discriminator_outputs = Deferred("secmi_exp.attacks.logan_training:discriminator_outputs")
train_on_all_ranks = Deferred("secmi_exp.attacks.logan_training:train_on_all_ranks")

log = logging.getLogger(__name__)

WEIGHTS = "discriminator.safetensors"

VERSION = 1
"""Version of networks, training and outputs; raised when the same samples would give others."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LOGAN(SampledAttack):
    """Its value is ``discriminator``, the log-odds by which an image passes for the target's; members have more."""

    values: ClassVar[tuple[str, ...]] = ("discriminator", "pixels")

    training_steps: PositiveInt
    batch_size: PositiveInt
    lr: PositiveFloat
    beta_1: Annotated[float, Field(ge=0, lt=1)]
    width: PositiveInt
    """Channels of the networks at full size; doubled each time that the size is halved."""
    latent: PositiveInt
    """Dimensions of the generator's input."""
    checkpoint_every: PositiveInt

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """Draw samples, train a GAN on them, and judge the images; whatever the store has is reused.

        Raises:
            UserError: where the training has diverged.
        """
        samples = self.sampling.draw(target, images, store, runtime)
        trained = self._key(samples, runtime)
        inputs: dict[str, Input] = {"discriminator": trained, "images": images.digest}
        key = Key("discriminator_outputs", VERSION, outside_classes(attack=self), inputs, files=("outputs.npy",))

        def train(workspace: Path) -> None:
            log.info("Training a GAN on %d samples for %d steps.", self.samples, self.training_steps)
            train_on_all_ranks(self, samples.pixels, workspace / WEIGHTS, runtime)

        def build(workspace: Path) -> None:
            weights = store.get_or_build(trained, train).path / WEIGHTS
            np.save(workspace / "outputs.npy", discriminator_outputs(weights, self, images, runtime))

        outputs = np.load(store.get_or_build(key, build).path / "outputs.npy")
        if count := int(rows_not_finite(outputs).sum()):
            raise UserError(
                f"The discriminator of the local GAN gives {count} of {len(images)} images an output that is not "
                f"finite: its training has diverged, so lower attack.lr={self.lr:g}."
            )
        return measurements_on(samples, {"discriminator": outputs}, images, key, self.facts())

    def _key(self, samples: Samples, runtime: Runtime) -> Key:
        """Return the key of the discriminator's weights."""
        sampling = {each.name for each in fields(SampledAttack)} - {"seed"}
        config: dict[str, Json] = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name not in sampling and each.name != "checkpoint_every"
        }
        config |= {"precision": runtime.precision, **outside_classes(attack=self)}
        return Key("discriminator", VERSION, config, {"samples": samples.key}, files=(WEIGHTS,))
