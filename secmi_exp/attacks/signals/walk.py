"""Walking the trajectories of many images, as rows that are filled batch by batch."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from secmi_exp.attacks.signals.trajectories import Plan, queries_per_sample
from secmi_exp.diffusion.noise_predictor import NoisePredictor
from secmi_exp.diffusion.trajectory import State, begin, walk
from secmi_exp.engine import ranks
from secmi_exp.engine.batches import Array
from secmi_exp.engine.compiling import CompileWhenItRepays
from secmi_exp.engine.row_journal import read_journal
from secmi_exp.engine.rows import Computed, Row, fill_rows
from secmi_exp.engine.runtime import Runtime
from secmi_exp.store import write_json
from secmi_exp.store.query_tally import counting_queries
from secmi_exp.targets.interface import InputArrays


def walk_images(
    plan: Plan, load: Callable[[], NoisePredictor], inputs: InputArrays, counts: Path, runtime: Runtime, *, logger: None
) -> None:
    """Fill the plan's folders; runs on every rank, each of which notes its queries in the file `counts`."""
    module = TrajectoryWalk(load().to(runtime.query_dtype), plan, tuple(inputs.condition))
    start: tuple[Array, ...] = (inputs.x_0,)
    if plan.start_state:
        start = tuple(np.load(plan.start_state / f"{name}.npy", mmap_mode="r") for name in ("x", "eps"))
    with torch.inference_mode():
        shape = tuple(module.predictor.encode(torch.from_numpy(np.array(inputs.x_0[:1]))).shape[1:])
    with counting_queries(module.predictor, counts):
        fill_rows(
            module,
            (*start, *inputs.condition.values()),
            files(plan, shape, np.dtype(np.float64 if runtime.query_precision == "64" else np.float32)),
            plan.workspaces,
            runtime,
            runtime.query_batch_size,
            [CompileWhenItRepays(runtime.compile, module.predictor.network)],
        )
    barrier()  # to note their queries
    if rank_info().rank == 0:
        note_queries(plan)


class TrajectoryWalk(pl.LightningModule):
    """One batch of images, or of states, to what the plan wants of it.

    Args:
        predictor: the target.
        plan: of the walk.
        condition: names of what stands in a batch behind the images or states.
    """

    def __init__(self, predictor: NoisePredictor, plan: Plan, condition: tuple[str, ...] = ()):
        super().__init__()
        self.predictor, self.plan, self.condition = predictor, plan, condition
        self.before = queries_per_sample(plan.start_state) if plan.start_state else 0

    def on_predict_start(self) -> None:
        """The layout that CUDA's convolutions are fastest in; on the CPU it would cost digits in GroupNorm."""
        if self.device.type == "cuda":
            self.predictor.to(memory_format=torch.channels_last)

    def predict_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Computed:
        """Walk up; only the current state is kept."""
        plan, made = self.plan, self.predictor.queries
        start = batch[: len(batch) - len(self.condition)]
        condition: Mapping[str, Tensor] = dict(zip(self.condition, batch[len(start) :], strict=True))
        predict = partial(self.predictor.predict_noise, condition=condition)
        predict_image = partial(self.predictor.predict_image, condition=condition)
        arrays, queries = {}, {}
        x, *eps = map(self._laid_out, start if plan.start_state else (self.predictor.encode(start[0]),))
        state = State(plan.start, x, eps[0]) if plan.start_state else begin(predict, x)
        for step in walk(predict, state, self.predictor.alphas_cumprod, plan.k, plan.last, predict_image):
            spent = self.before + (self.predictor.queries - made) // len(x)
            if folder := plan.t_errors.get(step.t_sec):
                arrays[folder / "t_errors.npy"], queries[folder] = step.t_error().float(), spent
            if folder := plan.maps.get(step.t_sec):
                arrays[folder / "maps.npy"], queries[folder] = step.error_map().half(), spent
            state = step.state
        if plan.last_state:
            arrays[plan.last_state / "x.npy"], arrays[plan.last_state / "eps.npy"] = state.x, state.eps
            queries[plan.last_state] = self.before + (self.predictor.queries - made) // len(x)
        return Computed(arrays, queries)

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if x.is_cuda and x.dim() == 4 else x


def files(plan: Plan, shape: tuple[int, ...], state_dtype: np.dtype[np.floating]) -> dict[Path, Row]:
    """What the plan leaves, for states of this shape."""
    wanted: dict[Path, Row] = {
        **{folder / "t_errors.npy": ((), np.dtype(np.float32)) for folder in plan.t_errors.values()},
        **{folder / "maps.npy": (shape, np.dtype(np.float16)) for folder in plan.maps.values()},
    }
    if plan.last_state:
        wanted |= {plan.last_state / f"{name}.npy": (shape, state_dtype) for name in ("x", "eps")}
    return wanted


def note_queries(plan: Plan) -> None:
    """Leave in each workspace how many queries a sample took."""
    for folder in plan.workspaces:
        (queries,) = {batch.queries for batch in noted(folder)}
        write_json(folder / "queries.json", {"queries_per_sample": queries})
