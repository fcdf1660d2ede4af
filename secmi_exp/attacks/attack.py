"""The interface of attacks, which files in ``conf/attack`` name: measurements of each image, and scorers."""

from abc import ABC, abstractmethod
from dataclasses import field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, InstanceOf
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import LearnedScorer, Scorer
from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.formatting import shown
from secmi_exp.store import Store
from secmi_exp.targets.interface import InputSpace, PreparedTarget

ARRAYS = frozenset({"error_map", "features", "pixels"})
"""Values that are more than one number an image."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Attack(ABC):
    """Measures without seeing a label; then scorers score."""

    finds_copies: ClassVar[bool] = False
    """Whether it looks for images that the target's samples copy; see `Measurements.copied`."""

    values: ClassVar[tuple[str, ...]] = ()
    """Names of the values that it measures, where every configuration of it has the same."""

    name: str
    """The scorer that the results lead with."""
    scorers: dict[str, InstanceOf[Scorer] | InstanceOf[LearnedScorer]] = field(default_factory=dict)

    def check(self, timesteps: Timesteps) -> None:
        """Compare with the timesteps of the target.

        Raises:
            UserError: for a timestep that the target doesn't have or can't be queried at, and for a name that no scorer
                has.
        """
        if self.name not in self.scorers:
            raise UserError(f"attack.name={self.name} is none of the attack's scorers: {', '.join(self.scorers)}.")
        self._refuse_unmeasured()

    def check_space(self, space: InputSpace) -> None:
        """Compare with what the target is queried about.

        Raises:
            UserError: for a target that the attack can't do with.
        """
        return

    @property
    def measured_names(self) -> frozenset[str] | None:
        """Names of the values that it will have measured; None where only the target can tell."""
        return frozenset(self.values) or None

    def _refuse_unmeasured(self) -> None:
        """Refuse scorers of values that the attack doesn't measure."""
        measured = self.measured_names
        for name, scorer in self.scorers.items():
            number: str | None = getattr(scorer, "value", None)  # of scorers that read a number of one's choice
            if number is not None and measured is not None and number not in measured - ARRAYS:
                numbers = ", ".join(sorted(measured - ARRAYS)) or "no single numbers"
                raise UserError(
                    f"attack.scorers.{name}.value={shown(number)} is none of the numbers that this attack measures: "
                    f"{numbers}."
                )
            for read in scorer.reads:
                if measured is not None and read not in measured:
                    raise UserError(
                        f"attack.scorers.{name} reads {read}, and this attack measures {', '.join(sorted(measured))} "
                        "alone: choose another attack, or leave the scorer out."
                    )

    @abstractmethod
    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """Query the target, or find the values in the store.

        Args:
            target: the target that is queried.
            images: n of them, in the dataset's order.
            store: store of the results.
            runtime: the machine.

        Raises:
            UserError: for targets that the attack can't be made on.
        """

    @property
    def reads(self) -> set[str]:
        """Values that its scorers need, besides numbers of the user's choice."""
        return {name for scorer in self.scorers.values() for name in scorer.reads}


class TargetFree(Attack):
    """An attack that queries no target, so that a run needs none."""

    @abstractmethod
    def measure_images(self, images: Images) -> Measurements:
        """Measure n images by themselves, or by what is known about them."""

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """Measure without the target."""
        return self.measure_images(images)

    def stated_membership(self, images: Images) -> NDArray[np.bool_] | None:
        """Return the membership that the attack's own source states, [n]; None where it states none."""
        return None


def refuse_beyond(name: str, t: int, timesteps: Timesteps, predicts: Literal["noise", "image"], k: int = 1) -> None:
    """Refuse a timestep after the last at which the target can be queried.

    Args:
        name: of the setting.
        t: value of the setting, a timestep.
        timesteps: of the target.
        predicts: prediction that is needed at t: the noise ε̂, or x̂_0 for a DDIM step from t.
        k: number that the setting must be a multiple of.

    Raises:
        UserError: naming the setting, the timestep, and the largest value that would do.
    """
    last = timesteps.last_noise if predicts == "noise" else timesteps.last_image
    if t <= last:
        return
    remedy = f"choose at most {last // k * k}" if last >= k else f"with k={k} none is left, so lower attack.k too"
    if t >= timesteps.count:
        raise UserError(f"attack.{name}={t} exceeds the last timestep of the target's schedule: {remedy}.")
    left_open = "gives no image" if predicts == "image" else "is no noise but the state itself"
    raise UserError(
        f"attack.{name}={t} can't be queried: from timestep {last + 1} on the target's α is 0 (zero terminal SNR), "
        f"and its prediction {left_open}: {remedy}."
    )
