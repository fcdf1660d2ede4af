"""The approach: how a state is reached where only the t-errors at a few timesteps are wanted, and none on the way.

The t-error is a difference of two predictions, which needs all digits. Those before it only move the state on: they can
be fewer, in longer steps, and of lower precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import approach_queries
from secmi_exp.engine.runtime import Precision, Runtime
from secmi_exp.files.strict_json import Json

has_bfloat16 = Deferred("secmi_exp.engine.trainers:has_bfloat16")

COMPARED = 2
"""Predictions whose difference is one t-error."""
BFLOAT16_COST = 0.6
"""Time of a query in bfloat16, of one in float32: 1 / 1.67, with the paper's network on a CPU with AVX512-BF16."""


@dataclass(frozen=True)
class Approach:
    """The way from an image to the first of two states that are compared; see `diffusion.trajectory.approach`."""

    k: int
    """DDIM interval of its steps."""
    precision: Precision
    """Precision of the predictions on the way."""

    def facts(self) -> dict[str, Json]:
        """Return it as results.json and keys name it."""
        return asdict(self)


def queries_by_approach(approach_k: int, k: int, compared: Sequence[int]) -> int:
    """Queries an image for the t-errors at some timesteps, each approached by itself.

    Args:
        approach_k: DDIM interval of the approach.
        k: DDIM interval of the round trip.
        compared: values of t_sec.

    >>> queries_by_approach(10, 10, [100]), queries_by_approach(30, 10, [100])
    (11, 5)
    """
    return sum(approach_queries(approach_k, t - k) + COMPARED for t in compared)


def choose_approach(approach_k: int, k: int, compared: Sequence[int], runtime: Runtime) -> Approach | None:
    """Choose how the states are reached at which t-errors are wanted.

    Args:
        approach_k: DDIM interval of the approach.
        k: DDIM interval of the round trip.
        compared: values of t_sec, of which some on the way to the last are not among them.
        runtime: the machine, with the precision that is asked for. auto: bfloat16 where the device has it natively and
            it takes less time than one walk in ``query_precision`` to all timesteps.

    Returns:
        None where one walk in one precision is the way.
    """
    precision: Precision
    if runtime.approach_precision != "auto":
        precision = runtime.approach_precision
    else:
        strides = sum(approach_queries(approach_k, t - k) for t in compared)
        low = BFLOAT16_COST * strides + COMPARED * len(compared)
        exact = max(compared) // k + 1 if approach_k == k else strides + COMPARED * len(compared)
        repays = runtime.query_precision in ("32", "tf32") and low < exact
        precision = "bf16" if repays and has_bfloat16(runtime) else runtime.query_precision
    if (approach_k, precision) == (k, runtime.query_precision):
        return None
    return Approach(approach_k, precision)
