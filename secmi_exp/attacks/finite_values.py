"""Refuse values and scores that are not finite before anything is fitted to them, and say where they arose.

Values and scores are checked once they are there, whether or not the store had them. Only where some are not finite is
their source searched for: inputs, weights, predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import Scores
from secmi_exp.attacks.signals.error_maps import ErrorMaps
from secmi_exp.data.images import Images
from secmi_exp.data.slices import slices
from secmi_exp.data.stored_rows import RowArray
from secmi_exp.engine.runtime import Precision, Runtime
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import warn
from secmi_exp.store import Store
from secmi_exp.targets.interface import PixelInputs, PreparedTarget

CHECKED_AT_ONCE = 2**22
"""Numbers that are checked at a time."""
NAMED = 3
"""Most values that a message names one by one."""
LOW_PRECISION: Mapping[Precision, str] = {"16": "float16", "bf16": "bfloat16"}


def rows_not_finite(values: RowArray) -> NDArray[np.bool_]:
    """Rows of [n, …] that hold NaN or an infinity, [n].

    >>> rows_not_finite(np.array([[1.0, 2.0], [np.inf, 0.0]])).tolist()
    [False, True]
    """
    found = np.zeros(len(values), dtype=bool)
    for rows in slices(len(values), max(1, CHECKED_AT_ONCE // int(np.prod(values.shape[1:])))):
        batch = np.asarray(values[rows])
        found[rows] = ~np.isfinite(batch.reshape(len(batch), -1)).all(axis=1)
    return found


def refuse_non_finite_values(
    asked_by: str, measured: Measurements, images: Images, target: PreparedTarget | None, store: Store, runtime: Runtime
) -> None:
    """Refuse values that are not finite; warn where t-errors are not, but at later timesteps than the attack's own.

    Args:
        asked_by: setting that caused the measurement, such as ``attack=stat``.
        measured: of n images.
        images: the same.
        target: the target that was queried; None without one.
        store: store of the target's inputs.
        runtime: of the queries.

    Raises:
        UserError: naming the values, how many images, the timestep, and the source.
    """
    found = {
        name: rows
        for name, values in measured.values.items()
        if name not in measured.unlisted
        and _computed(values)
        and (rows := rows_not_finite(_with_alternatives(values))).any()
    }
    if not found:
        _warn_of_later_timesteps(measured)
        return
    if target:
        refuse_non_finite_inputs(target, images, store, runtime)
        target.load()  # refuses weights that are not finite
    names = [name for name in found if name != "features"] or ["features"]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    count = int(np.logical_or.reduce(list(found.values())).sum())
    if names == ["error_map"]:
        source = "they exceed float16, in which they are kept; choose a smaller attack.t_sec"
    elif target:
        source = overflow(runtime.query_precision)
    else:
        source = "correct how they are measured"
    raise UserError(
        f"The values {', '.join(names[:NAMED])}{more} of {asked_by} are not finite for {count} of {len(images)} images"
        f"{_when(measured)}: {source}."
    )


def refuse_non_finite_inputs(target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> None:
    """Refuse what the target makes of images before it is queried, latents and embeddings, where it is not finite.

    Raises:
        UserError: naming it, and how many images.
    """
    inputs = target.inputs(images, store, runtime)
    if isinstance(inputs, PixelInputs):
        return
    arrays = inputs.arrays()
    for name, values in {"latents": arrays.x_0, **arrays.condition}.items():
        if count := int(rows_not_finite(values).sum()):
            raise UserError(
                f"What the target's encoders make of the images and prompts is not finite: {name} of {count} of "
                f"{len(images)} images; check the weights of its autoencoder and text encoders."
            )


def overflow(precision: Precision) -> str:
    """Why predictions with finite weights and inputs are not finite, and what to do, as the end of a sentence."""
    if precision in LOW_PRECISION:
        return f"the target's predictions overflow in {LOW_PRECISION[precision]}; try trainer.query_precision=32"
    return (
        "the target's weights are finite, and its predictions are not; look whether its training has diverged, and "
        "whether its schedule and the range of its inputs are the right ones"
    )


def refuse_non_finite_scores(scores: Mapping[str, Scores]) -> None:
    """Refuse scores that are not finite though the values that they are made of are; warn where all are equal.

    Args:
        scores: scorer → [n].

    Raises:
        UserError: naming the scorer, and how many images.
    """
    for name, values in scores.items():
        if count := int(rows_not_finite(values).sum()):
            raise UserError(
                f"The scorer {name} gives {count} of {len(values)} images a score that is not finite, though the "
                f"values that it scores are: it has not converged; change its settings, attack.scorers.{name}."
            )
        if len(values) > 1 and np.ptp(values) == 0:
            warn(
                "scores_all_equal",
                f"The scorer {name} gives all {len(values)} images the same score, {values[0] + 0.0:.4g}, so that its "
                "AUC is 0.5 whatever the target has learnt: the target's predictions may not depend on the image, or "
                "the scorer may have had too few images to learn from.",
                count=len(values),
                grave=True,
            )


def _computed(values: RowArray) -> bool:
    """Whether they are numbers that an attack has computed, rather than the images themselves."""
    return isinstance(values, ErrorMaps) or (isinstance(values, np.ndarray) and values.dtype.kind == "f")


def _with_alternatives(values: RowArray) -> RowArray:
    """Error maps with all that a scorer may choose to read besides; other values as they are."""
    return (
        values.at(sorted({*values.timesteps, *chain(*values.alternatives)}))
        if isinstance(values, ErrorMaps)
        else values
    )


def _when(measured: Measurements) -> str:
    if measured.trajectory:
        bad = ~np.isfinite(measured.trajectory.t_errors).all(axis=0)
        return f", from timestep {measured.trajectory.timesteps[int(bad.argmax())]} on" if bad.any() else ""
    return f", queried up to timestep {measured.last_timestep}" if measured.last_timestep is not None else ""


def _warn_of_later_timesteps(measured: Measurements) -> None:
    if not (signals := measured.trajectory):
        return
    bad = ~np.isfinite(signals.t_errors)
    if bad.any():
        warn(
            "t_errors_not_finite",
            f"The t-errors of {bad.any(axis=1).sum()} of {len(bad)} images are not finite from timestep "
            f"{signals.timesteps[int(bad.any(axis=0).argmax())]} on, which the attack makes no use of: the curve over "
            "timesteps has no value there.",
            count=int(bad.any(axis=1).sum()),
        )
