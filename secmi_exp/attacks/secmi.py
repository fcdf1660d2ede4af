"""SecMI: t-errors and error maps. Source: Duan et al. (ICML 2023), sections 4.2 and 4.3."""

import logging
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import Attack, refuse_beyond
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.signals.approach import Approach, choose_approach, queries_by_approach
from secmi_exp.attacks.signals.error_maps import ErrorMaps
from secmi_exp.attacks.signals.trajectories import compute_by_approach, compute_trajectories
from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import Timesteps, timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import PreparedTarget

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the values below; raised when the same trajectory would give others."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SecMI(Attack):
    """At one timestep; its fields are those of ``conf/attack/stat.yaml``.

    Its values are ``t_error`` [n], ``pixels`` (the images), and ``error_map`` [n, C, H, W] where a scorer reads it.
    """

    values: ClassVar[tuple[str, ...]] = ("t_error", "pixels", "error_map")

    t_sec: PositiveInt
    k: PositiveInt
    t_max: PositiveInt | None
    """All t-errors on the trajectory up to here are taken; None: those at t_sec alone, and at the timesteps below."""
    approach_k: PositiveInt | None
    """DDIM interval of the steps to t_sec − k, where no t-errors on the way are taken; None: k."""
    maps: list[PositiveInt] | Literal["all"]
    """Timesteps whose error maps are kept for later runs, besides those at t_sec that a scorer reads."""
    stacked: list[PositiveInt] | Literal["auto"]
    """Further timesteps whose error maps are stacked on those at t_sec, as channels; auto: a scorer that is fitted
    decides, by its own cross-validation, whether those of all timesteps below t_sec are."""

    @property
    def last(self) -> int:
        """The timestep that the trajectory ends at: t_max rounded down to a multiple of k, t_sec at least."""
        further = self.maps if self.maps != "all" else []
        return max((self.t_max or 0) // self.k * self.k, *self._read, *further)

    @property
    def compared(self) -> list[int]:
        """The timesteps at which t-errors are taken."""
        on_the_way = timesteps(self.k, self.last)
        return on_the_way if self.t_max else sorted({*self._read, *self.kept_maps})

    @property
    def kept_maps(self) -> list[int]:
        """Timesteps whose error maps are kept."""
        if self.maps == "all":
            return timesteps(self.k, self.last)
        return sorted({*self.maps, *(self._read if "error_map" in self.reads else [])})

    @property
    def _read(self) -> list[int]:
        """Timesteps whose maps scorers may see, in the order of their channels."""
        if self.stacked == "auto":
            return timesteps(self.k, self.t_sec)
        return sorted({self.t_sec, *self.stacked})

    @property
    def _beside_read(self) -> dict[str, Json]:
        """What the timesteps that are read leave open, for the key."""
        if self.stacked == "auto":
            return {"stacked": "auto"}
        return {"at": self.t_sec} if len(self._read) > 1 else {}

    def check(self, timesteps: Timesteps) -> None:
        """See `Attack.check`; timesteps must lie on the trajectory, too."""
        further = [("stacked", t) for t in (self.stacked if self.stacked != "auto" else [])]
        further += [("maps", t) for t in (self.maps if self.maps != "all" else [])]
        for name, t in [("t_sec", self.t_sec), *further]:
            refuse_beyond(name, t, timesteps, "image", self.k)
            if t % self.k:
                near = (t // self.k * self.k, (t // self.k + 1) * self.k)
                there = " and ".join(str(each) for each in near if 0 < each <= timesteps.last_image)
                raise UserError(
                    f"attack.{name}={t} is not a multiple of the DDIM interval attack.k={self.k}: "
                    + (
                        f"on the trajectory: {there}."
                        if there
                        else "lower attack.k, which no timestep is a multiple of."
                    )
                )
        if self.t_max and self.t_max // self.k * self.k > timesteps.last_image:
            refuse_beyond("t_max", self.t_max, timesteps, "image", self.k)
        self._refuse_approach()
        super().check(timesteps)

    def _refuse_approach(self) -> None:
        """Refuse an approach that saves no queries."""
        if self.approach_k in (None, self.k):
            return
        assert self.approach_k
        if self.t_max:
            raise UserError(
                f"attack.approach_k={self.approach_k} leaves out states on the way to t_sec, and attack.t_max="
                f"{self.t_max} takes the t-errors of them all: set attack.t_max=null, or approach_k=null."
            )
        queries = queries_by_approach(self.approach_k, self.k, self.compared)
        walked = self.last // self.k + 1
        if queries > walked:
            raise UserError(
                f"attack.approach_k={self.approach_k} takes {queries} queries an image for the t-errors at "
                f"{len(self.compared)} timesteps, each approached by itself, and one walk to t={self.last} takes "
                f"{walked}: set approach_k=null, or take fewer timesteps with attack.stacked=[] and attack.maps=[]."
            )

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """Walk every image's trajectory, from as far as the store has it."""
        approach = self._approach(runtime)
        if approach:
            signals = compute_by_approach(
                target, images, k=self.k, compared=self.compared, approach=approach, maps=self.kept_maps, store=store,
                runtime=runtime,
            )  # fmt: skip
        else:
            signals = compute_trajectories(
                target, images, k=self.k, t_max=self.last, maps=self.kept_maps, store=store, runtime=runtime
            )
        maps = {"error_map": self._error_maps(signals.maps)} if "error_map" in self.reads else {}
        return Measurements(
            {"t_error": signals.t_error(self.t_sec), "pixels": images, **maps},
            queries_per_sample=signals.queries_per_sample(max(self._read)),
            queries_spent=signals.queries_spent,
            key=Key(
                "secmi",
                VERSION,
                {"t_sec": self._read, **self._beside_read, **outside_classes(attack=self)},
                {"trajectory": signals.key},
            ),
            facts={
                "t_sec": self.t_sec,
                "k": self.k,
                **({"approach": approach.facts()} if approach else {}),
                **signals.noise[signals.timesteps.index(self.t_sec)],
                "trajectory": {"timesteps": signals.timesteps, "queries_per_sample": signals.queries},
                **signals.facts,
            },
            trajectory=signals,
        )

    def _approach(self, runtime: Runtime) -> Approach | None:
        """Return how the states at t_sec − k are reached; None by the walk whose every state is compared."""
        if self.compared != timesteps(self.k, self.last):
            return choose_approach(self.approach_k or self.k, self.k, self.compared, runtime)
        if runtime.approach_precision not in ("auto", runtime.query_precision):
            log.info(
                "trainer.approach_precision=%s changes nothing: t-errors are taken at each step up to t = %d, so that "
                "all predictions are made in %s. attack.t_max=null takes them at t_sec alone.",
                runtime.approach_precision, self.last, runtime.query_precision,
            )  # fmt: skip
        return None

    def _error_maps(self, maps: Mapping[int, NDArray[np.float16]]) -> ErrorMaps:
        """Return the maps that scorers see."""
        read = tuple(self._read)
        if self.stacked != "auto":
            return ErrorMaps(maps, read)
        return ErrorMaps(maps, (self.t_sec,), (read,) if len(read) > 1 else ())
