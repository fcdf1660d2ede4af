"""CDI: the values of several attacks together, and one answer for a whole collection.

Source: Dubiński et al., "CDI: Copyrighted Data Identification in Diffusion Models" (CVPR 2025): a logistic regression
on the values of known attacks scores images, and Welch's t-test compares the scores of a collection with those of
images that are certainly no members. Its features by gradient masking and by noise optimisation are not among ours.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, InstanceOf
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import ARRAYS, Attack
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import InputSpace, PreparedTarget

VERSION = 1
"""Version of the features; raised when the same parts would give others."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CDI(Attack):
    """Its values are those of its parts, ``PART/VALUE`` [n], and all of them as ``features`` [n, F]."""

    parts: Annotated[dict[str, InstanceOf[Attack]], Field(min_length=1)]

    def check(self, timesteps: Timesteps) -> None:
        """See `Attack.check`; each part must measure single numbers."""
        for name, part in self.parts.items():
            part.check(timesteps)
            if part.measured_names is not None:
                refuse_without_numbers(name, part.measured_names - ARRAYS)
        super().check(timesteps)

    def check_space(self, space: InputSpace) -> None:
        """See `Attack.check_space`."""
        for part in self.parts.values():
            part.check_space(space)

    @property
    def measured_names(self) -> frozenset[str] | None:
        """See `Attack.measured_names`."""
        names = {"features"}
        for name, part in self.parts.items():
            if part.measured_names is None:
                return None
            names |= {f"{name}/{value}" for value in part.measured_names - ARRAYS}
        return frozenset(names)

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """Measure with each part by itself, on weights that are loaded once; whatever the store has is reused."""
        target = target.kept()
        measured = {name: part.measure(target, images, store, runtime) for name, part in self.parts.items()}
        values: dict[str, NDArray[Any]] = {}
        for name, part in measured.items():
            refuse_without_numbers(name, part.numbers)
            values |= {f"{name}/{value}": numbers for value, numbers in part.numbers.items()}
        unlisted = frozenset(f"{name}/{value}" for name, part in measured.items() for value in part.unlisted)
        wide: dict[str, Json] = {"features": len(values)} if unlisted else {}  # earlier versions left such parts out
        return Measurements(
            {**values, "features": np.stack(list(values.values()), axis=1).astype(np.float64)},
            queries_per_sample=sum(part.queries_per_sample for part in measured.values()),
            queries_spent=sum(part.queries_spent for part in measured.values()),
            key=Key(
                "cdi",
                VERSION,
                {**outside_classes(**self.parts), **outside_classes(cdi=self), **wide},
                {name: part.key for name, part in measured.items()},
            ),
            facts=in_common([part.facts for part in measured.values()]),
            last_timestep=max((part.last_timestep or 0 for part in measured.values()), default=None),
            unlisted=unlisted,
        )


def refuse_without_numbers(part: str, numbers: Collection[str]) -> None:
    """Refuse a part whose features would be none.

    Raises:
        UserError: naming it.
    """
    if not numbers:
        raise UserError(
            f"attack.parts.{part} measures no single numbers of an image, which are all that cdi takes: leave it out, "
            "or choose another attack for it."
        )


def in_common(facts: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """Return the facts that all parts share, such as the prompts of their queries."""
    first, *others = facts
    return {name: fact for name, fact in first.items() if all(other.get(name) == fact for other in others)}
