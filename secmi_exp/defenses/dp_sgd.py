"""DP-SGD: what one image can change in the weights is bounded, and hidden in noise.

Source: Abadi et al., "Deep Learning with Differential Privacy" (CCS 2016), algorithm 1.

What the guarantee is about, and what not:

- Two member sets are neighbours if one has one image more. Every step's batch holds each image with probability
  q = batch size / members, independently of the others (Poisson sampling), and is empty now and then.
- The batches and the noise are functions of the seed, so that a killed training continues and a finished one can be
  repeated. ε therefore holds only against an adversary who doesn't know the seed, and a run's configuration, its
  results and the store's manifests name it: release the weights alone, of a training with a random secret seed.
- opacus' secure mode, which guards against attacks on the floating-point form of the noise, is not used.
- Weights, their moving average, and samples are covered; the training loss that is logged is not.
"""

from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.defenses.defense import Defense, Recipe
from secmi_exp.defenses.dp_sgd_settings import PRIVACY, DPSGDSettings
from secmi_exp.deferred import Deferred
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.training_step import TrainingStep
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import warn

PrivateStep = Deferred("secmi_exp.defenses.private_step:PrivateStep")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DPSGD(DPSGDSettings, Defense):
    """Poisson batches, clipped gradients of single images, Gaussian noise."""

    report_files: ClassVar[tuple[str, ...]] = (PRIVACY,)

    def training_step(self, recipe: Recipe, samples: int) -> TrainingStep:
        """Return a step of DP-SGD.

        Raises:
            UserError: where one step already spends more than `max_epsilon`.
        """
        step: TrainingStep = PrivateStep(self, recipe, samples)
        return step

    def check_samples(self, samples: int) -> None:
        """Warn of a δ that is no guarantee."""
        if self.delta >= 1 / samples:
            warn(
                "delta_too_large",
                f"defense.delta={self.delta:g} allows the leak of whole images: set it well below 1/{samples}.",
            )

    def refuse_runtime(self, runtime: Runtime) -> None:
        """Refuse several devices, float16, and compilation.

        Raises:
            UserError: naming the setting.
        """
        if runtime.devices * runtime.nodes > 1:
            raise UserError(
                f"defense=dp_sgd trains on one device, and there are {runtime.devices * runtime.nodes}: "
                "set trainer.devices=1 and trainer.nodes=1."
            )
        if runtime.precision == "16":
            raise UserError(
                "defense=dp_sgd can't clip gradients that are scaled for float16: set trainer.precision to bf16 or 32."
            )
        if runtime.compile is True:
            raise UserError(
                "defense=dp_sgd needs the gradients at each layer, which a compiled network doesn't give: set "
                "trainer.compile=auto."
            )
