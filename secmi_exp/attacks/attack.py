"""An attack as a file in ``conf/attack`` describes it: one walk along the trajectory, and the scorers that read it."""

from dataclasses import field
from typing import Literal

from pydantic import ConfigDict, InstanceOf, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.scorer import LearnedScorer, Scorer
from secmi_exp.diffusion.timesteps import timesteps
from secmi_exp.errors import UserError


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Attack:
    """SecMI at one timestep."""

    name: str
    """The scorer that the results lead with."""
    t_sec: PositiveInt
    k: PositiveInt
    t_max: PositiveInt
    maps: list[PositiveInt] | Literal["all"]
    """Timesteps whose error maps are kept for later runs, besides those at t_sec that a scorer reads."""
    scorers: dict[str, InstanceOf[Scorer] | InstanceOf[LearnedScorer]] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The timestep that the trajectory ends at: t_max rounded down to a multiple of k, t_sec at least."""
        return max(self.t_max // self.k * self.k, self.t_sec, *self.maps if self.maps != "all" else ())

    @property
    def kept_maps(self) -> list[int]:
        """Timesteps whose error maps are kept."""
        if self.maps == "all":
            return timesteps(self.k, self.last)
        read = [self.t_sec] if any(scorer.reads_maps for scorer in self.scorers.values()) else []
        return sorted({*self.maps, *read})

    def check(self, target_timesteps: int) -> None:
        """Compare with the schedule of the target, which has T timesteps.

        Raises:
            UserError: for a timestep that is not on the trajectory.
        """
        for name, t in [("t_sec", self.t_sec), *(("maps", t) for t in self.kept_maps)]:
            if t % self.k:
                raise UserError(
                    f"attack.{name}={t} is not a multiple of the DDIM interval attack.k={self.k}: "
                    f"{t // self.k * self.k or self.k} and {(t // self.k + 1) * self.k} are on the trajectory."
                )
        for name, t in [("t_sec", self.t_sec), ("t_max", self.last)]:
            if t >= target_timesteps:
                raise UserError(
                    f"attack.{name}={t} exceeds the last timestep of the target's schedule: choose at most "
                    f"{(target_timesteps - 1) // self.k * self.k}."
                )
        if self.name not in self.scorers:
            raise UserError(f"attack.name={self.name} is none of the attack's scorers: {', '.join(self.scorers)}.")
