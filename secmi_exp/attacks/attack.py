"""What a file in ``conf/attack`` names: what is measured of each image, and the scorers that read it."""

from abc import ABC, abstractmethod
from dataclasses import field

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, InstanceOf
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.measured import Measured
from secmi_exp.attacks.scorer import LearnedScorer, Scorer
from secmi_exp.data.images import Images
from secmi_exp.errors import UserError
from secmi_exp.runtime import Runtime
from secmi_exp.store import Store
from secmi_exp.targets.interface import PreparedTarget


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Attack(ABC):
    """Measures without seeing a label; then scorers score."""

    name: str
    """The scorer that the results lead with."""
    scorers: dict[str, InstanceOf[Scorer] | InstanceOf[LearnedScorer]] = field(default_factory=dict)

    def check(self, target_timesteps: int) -> None:
        """Compare with the schedule of the target, which has T timesteps.

        Raises:
            UserError: for a timestep that the target doesn't have, and for scorers that the name is none of.
        """
        if self.name not in self.scorers:
            raise UserError(f"attack.name={self.name} is none of the attack's scorers: {', '.join(self.scorers)}.")

    @abstractmethod
    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measured:
        """Query the target, or find in the store what it said.

        Args:
            target: to be queried.
            images: n of them, in the dataset's order.
            store: where all is kept.
            runtime: the machine.

        Raises:
            UserError: for targets that the attack can't be made on.
        """

    @property
    def reads(self) -> set[str]:
        """Values that its scorers need beyond what is always measured."""
        return {name for scorer in self.scorers.values() for name in scorer.reads}


class TargetFree(Attack):
    """An attack that asks no target, so that a run needs none."""

    @abstractmethod
    def look(self, images: Images) -> Measured:
        """Measure n images by themselves, or by what is known of them."""

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measured:
        """The same, beside others that do ask."""
        return self.look(images)

    def stated_membership(self, images: Images) -> NDArray[np.bool_] | None:
        """What the attack's own source says of the images' membership, [n]; None where it says nothing."""
        return None


def refuse_beyond(name: str, t: int, target_timesteps: int, k: int = 1) -> None:
    """Refuse a timestep after the target's last.

    Raises:
        UserError: naming the setting and the largest value that would do.
    """
    if t >= target_timesteps:
        raise UserError(
            f"attack.{name}={t} exceeds the last timestep of the target's schedule: choose at most "
            f"{(target_timesteps - 1) // k * k}."
        )
