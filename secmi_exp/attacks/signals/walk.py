"""Walking the trajectories of many images, as rows that are filled batch by batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from secmi_exp.attacks.signals.approach import Approach
from secmi_exp.diffusion.noise_predictor import NoisePredictor
from secmi_exp.diffusion.trajectory import State, approach, begin, walk
from secmi_exp.engine.queries import query_rows
from secmi_exp.engine.rows import Row
from secmi_exp.engine.runtime import Precision, Runtime
from secmi_exp.engine.trainers import allow_tf32, query_dtype
from secmi_exp.files.strict_json import Json
from secmi_exp.targets.interface import InputArrays


@dataclass(frozen=True)
class WalkPlan:
    """What a walk starts from and leaves behind; each rank gets it whole."""

    k: int
    start: int
    """Timestep of the first state that is compared; 0: the images themselves."""
    start_state: Path | None
    """Folder of that state, where an earlier walk has left it."""
    queries_before: int
    """Queries a sample that the way to that state took."""
    last: int
    """Timestep that it ends at."""
    t_errors: Mapping[int, Path]
    """t_sec → workspace, of those that are missing."""
    maps: Mapping[int, Path]
    """t_sec → workspace, of those that are missing."""
    last_state: Path | None = None
    """Workspace for the state at the end; None where it isn't wanted, or there already."""
    approach: Approach | None = None
    """How the state at ``start`` is reached where no earlier walk has left it."""

    @property
    def workspaces(self) -> list[Path]:
        """All folders of entries that are being built."""
        return [*self.t_errors.values(), *self.maps.values(), *([self.last_state] if self.last_state else [])]


def walk_images(
    runtime: Runtime, plan: WalkPlan, load: Callable[[], NoisePredictor], inputs: InputArrays, query_file: Path
) -> dict[Path, dict[str, Json]]:
    """Fill the plan's workspaces on all devices; see `walk_rows`.

    Args:
        runtime: the machine.
        plan: the arrays to fill.
        load: reads the target.
        inputs: the images as the target takes them.
        query_file: file in which queries are counted.

    Returns:
        Workspace → what is kept beside its arrays: ``queries_per_sample`` until they were complete, and for t-errors
        ``noise_to_signal``, σ/α at t_sec, and ``network_time``, what the network was given there.
    """
    return runtime.run_on_all_ranks(walk_rows, plan, load, inputs, query_file, runtime)


def walk_rows(
    plan: WalkPlan, load: Callable[[], NoisePredictor], inputs: InputArrays, query_file: Path, runtime: Runtime
) -> dict[Path, dict[str, Json]]:
    """Fill the rows of the plan's files; see `walk_images`. Called on every rank; the result is rank 0's."""
    dtypes = [query_dtype(runtime.query_precision)]
    if plan.approach:
        dtypes.append(query_dtype(plan.approach.precision))
    predictors = {dtype: load().to(dtype) for dtype in dict.fromkeys(dtypes)}
    predictor, approaching = (predictors[dtype] for dtype in (dtypes[0], dtypes[-1]))
    with torch.inference_mode():
        shape = tuple(predictor.encode(torch.from_numpy(np.array(inputs.x_0[:1]))).shape[1:])
    if plan.start_state:
        start = [np.load(plan.start_state / f"{name}.npy", mmap_mode="r") for name in ("x", "eps")]
    else:
        start = [inputs.x_0]
    queries = query_rows(
        list(predictors.values()),
        partial(walk_batch, predictor, approaching, plan, runtime.query_precision, tuple(inputs.condition)),
        (*start, *inputs.condition.values()),
        plan_files(plan, shape, np.dtype(np.float64 if runtime.query_precision == "64" else np.float32)),
        plan.workspaces,
        query_file,
        runtime,
    )
    facts: dict[Path, dict[str, Json]] = {
        workspace: {"queries_per_sample": plan.queries_before + int(of_rows[0])}
        for workspace, of_rows in queries.items()
    }
    path = predictor.path
    for t, workspace in plan.t_errors.items():
        if workspace in facts and path.alphas[t] > 0.0:
            facts[workspace]["noise_to_signal"] = path.sigmas[t] / path.alphas[t]
            facts[workspace]["network_time"] = path.model_time(t)
    return facts


def walk_batch(
    predictor: NoisePredictor,
    approaching: NoisePredictor,
    plan: WalkPlan,
    precision: Precision,
    condition_names: Sequence[str],
    *batch: Tensor,
) -> Iterator[tuple[Path, Tensor]]:
    """Walk up with one batch; only the current state is kept.

    Args:
        predictor: the target, in the precision of what is compared.
        approaching: the target, in the precision of the plan's approach; the same one where there is none.
        plan: the values that are kept.
        precision: precision of the compared predictions.
        condition_names: names of the last tensors of the batch.
        batch: the images [B, …], or the states x and ε̂ that the plan starts from; then the conditions.
    """
    start = batch[: len(batch) - len(condition_names)]
    condition = dict(zip(condition_names, batch[len(start) :], strict=True))
    predict = partial(predictor.predict_noise, condition=condition)
    predict_image = partial(predictor.predict_image, condition=condition)
    if plan.start_state:
        state = State(plan.start, *map(in_layout, start))
    else:
        x = in_layout(predictor.encode(start[0]))
        if plan.approach:
            allow_tf32(plan.approach.precision)
            move_on = partial(approaching.predict_noise, condition=condition)
            x = approach(move_on, x, predictor.path, plan.approach.k, plan.start)
            allow_tf32(precision)
        state = begin(predict, x, plan.start)
    for step in walk(predict, state, predictor.path, plan.k, plan.last, predict_image):
        if folder := plan.t_errors.get(step.t_sec):
            yield folder / "t_errors.npy", step.t_error().float()
        if folder := plan.maps.get(step.t_sec):
            yield folder / "maps.npy", step.error_map().half()
        state = step.state
    if plan.last_state:
        yield plan.last_state / "x.npy", state.x
        yield plan.last_state / "eps.npy", state.eps


def in_layout(x: Tensor) -> Tensor:
    """Lay images out as CUDA's convolutions are fastest; on the CPU it would cost digits in GroupNorm."""
    return x.contiguous(memory_format=torch.channels_last) if x.is_cuda and x.dim() == 4 else x


def plan_files(plan: WalkPlan, shape: tuple[int, ...], state_dtype: np.dtype[np.floating]) -> dict[Path, Row]:
    """Return the files that the plan leaves, for states of this shape."""
    wanted: dict[Path, Row] = {
        **{folder / "t_errors.npy": ((), np.dtype(np.float32)) for folder in plan.t_errors.values()},
        **{folder / "maps.npy": (shape, np.dtype(np.float16)) for folder in plan.maps.values()},
    }
    if plan.last_state:
        wanted |= {plan.last_state / f"{name}.npy": (shape, state_dtype) for name in ("x", "eps")}
    return wanted
