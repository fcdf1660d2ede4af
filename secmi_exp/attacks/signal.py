"""The signal of SecMI: t-errors of whole trajectories, and error maps, through `Trainer.predict` into the store.

Nothing here takes a membership label: a signal gets images in dataset order and the target.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from secmi_exp.data.batches import in_order
from secmi_exp.data.images import Images
from secmi_exp.diffusion.trajectory import timesteps, walk
from secmi_exp.runtime import Runtime
from secmi_exp.store import SCRATCH, Json, Key, Store, write_json
from secmi_exp.targets.interface import NoisePredictor, PreparedTarget

log = logging.getLogger(__name__)

VERSION = 1
"""Of this code; raised when the same configuration would give other numbers."""

SAVE_EVERY_S = 5.0
"""Seconds between records of progress: the work that a killed walk loses at most."""


@dataclass(frozen=True)
class Signals:
    """What the target gave for each image, memory-mapped from the store."""

    timesteps: list[int]
    """Values of t_sec, ascending."""
    t_errors: NDArray[np.float32]
    """[n, len(timesteps)]."""
    maps: Mapping[int, NDArray[np.float16]]
    """t_sec → [n, C, H, W], where kept."""
    queries: list[int]
    """Queries per sample, counted at the noise predictor, until the t-error at each timestep was complete."""
    digest: str
    """What they are, for the keys of what is computed from them."""

    def t_error(self, t_sec: int) -> NDArray[np.float32]:
        """The t-errors at one timestep, [n]."""
        return self.t_errors[:, self.timesteps.index(t_sec)]

    def queries_per_sample(self, t_sec: int) -> int:
        """What an attack at this timestep costs."""
        return self.queries[self.timesteps.index(t_sec)]


def trajectory_signals(
    target: PreparedTarget,
    images: Images,
    *,
    k: int,
    t_max: int,
    maps: Sequence[int],
    store: Store,
    runtime: Runtime,
) -> Signals:
    """Walk every image's trajectory to t_max, or find in the store that it was done before.

    Args:
        target: to be queried.
        images: n of them.
        k: DDIM interval.
        t_max: last timestep walked to; a multiple of k.
        maps: timesteps whose error maps are kept, as float16.
        store: t-errors and each timestep's maps are entries of their own, so that attacks share them.
        runtime: the machine.
    """
    inputs = {"target": target.digest, "images": images.digest}
    common = {"k": k, "precision": runtime.precision}
    errors_key = Key("t_errors", VERSION, {**common, "t_max": t_max}, inputs)
    map_keys = {t: Key("error_maps", VERSION, {**common, "t_sec": t}, inputs) for t in maps}

    def build(workspaces: dict[str, Path]) -> None:
        _walk_into(workspaces, errors_key, map_keys, target.load(), images, k, t_max, runtime)

    errors, *kept = store.obtain_all([errors_key, *map_keys.values()], build)
    steps = json.loads((errors.path / "trajectory.json").read_text())
    return Signals(
        timesteps=steps["timesteps"],
        t_errors=np.load(errors.path / "t_errors.npy", mmap_mode="r"),
        maps={t: np.load(entry.path / "maps.npy", mmap_mode="r") for t, entry in zip(maps, kept, strict=True)},
        queries=steps["queries_per_sample"],
        digest=errors_key.digest,
    )


def _walk_into(
    workspaces: dict[str, Path],
    errors_key: Key,
    map_keys: Mapping[int, Key],
    predictor: NoisePredictor,
    images: Images,
    k: int,
    t_max: int,
    runtime: Runtime,
) -> None:
    """Fill the workspaces of the missing entries; walks no further than they need."""
    missing = {t: workspaces[key.digest] for t, key in map_keys.items() if key.digest in workspaces}
    errors = workspaces.get(errors_key.digest)
    furthest = t_max if errors else max(missing)
    with torch.inference_mode():
        shape = tuple(predictor.encode(torch.from_numpy(images[:1])).shape[1:])
    recorder = Recorder(len(images), shape, timesteps(k, furthest), errors, missing)
    log.info(
        "Walking %d trajectories to t = %d: %d queries each%s.",
        len(images), furthest, furthest // k + 1, f", continuing at image {recorder.done}" if recorder.done else "",
    )  # fmt: skip
    trainer = runtime.trainer(callbacks=[recorder])
    batches = in_order(images, batch_size=runtime.query_batch_size, start=recorder.done)
    module = TrajectoryWalk(predictor, k, furthest, list(missing))
    trainer.predict(module, batches, return_predictions=False)
    recorder.finish()


@dataclass(frozen=True)
class Walked:
    """The outcome of one batch."""

    t_errors: Tensor
    """[B, number of timesteps]."""
    maps: dict[int, Tensor]
    """t_sec → [B, C, H, W], float16."""
    queries: list[int]
    """Images queried until each timestep, this batch alone."""


class TrajectoryWalk(pl.LightningModule):
    """One batch of images to its t-errors and maps."""

    def __init__(self, predictor: NoisePredictor, k: int, t_max: int, maps: Sequence[int]):
        super().__init__()
        self.predictor, self.k, self.t_max, self.maps = predictor, k, t_max, frozenset(maps)

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> Walked:
        """Walk up; only the current state is kept."""
        before = self.predictor.queries
        errors, maps, queries = [], {}, []
        x_0 = self.predictor.encode(batch[0])
        for step in walk(self.predictor.predict_noise, x_0, self.predictor.alphas_cumprod, self.k, self.t_max):
            errors.append(step.t_error().float())
            queries.append(self.predictor.queries - before)
            if step.t_sec in self.maps:
                maps[step.t_sec] = step.error_map().half()
        return Walked(torch.stack(errors, dim=1), maps, queries)


class Recorder(pl.Callback):
    """Streams batches into memory maps, and records how far they reach, so that a killed walk continues there.

    Args:
        n: images in all.
        shape: of one error map.
        steps: values of t_sec on the trajectory.
        errors: workspace of the t-errors; None where the store has them.
        maps: workspace of each timestep's maps.
    """

    def __init__(self, n: int, shape: tuple[int, ...], steps: list[int], errors: Path | None, maps: Mapping[int, Path]):
        self.n, self.steps, self.errors = n, steps, errors
        self.workspaces = [*([errors] if errors else []), *maps.values()]
        self.done, self.queries = self._progress()
        self.saved_at = time.monotonic()
        mode = "r+" if self.done else "w+"
        self.t_errors = None
        if errors:
            self.t_errors = open_memmap(
                errors / "t_errors.npy",
                mode=mode,
                dtype=np.float32,
                shape=None if self.done else (n, len(steps)),
            )
        self.maps = {
            t: open_memmap(path / "maps.npy", mode=mode, dtype=np.float16, shape=None if self.done else (n, *shape))
            for t, path in maps.items()
        }

    def _progress(self) -> tuple[int, list[int]]:
        """Images done and queries spent in all workspaces; from the start where they differ."""
        try:
            records = [json.loads((path / SCRATCH / "progress.json").read_text()) for path in self.workspaces]
        except (OSError, ValueError):
            records = []
        if records and all(record == records[0] for record in records) and records[0]["timesteps"] == self.steps:
            return int(records[0]["done"]), list(records[0]["queries"])
        return 0, [0] * len(self.steps)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Append one batch."""
        prediction: Walked = outputs
        rows = slice(self.done, self.done + len(prediction.t_errors))
        if self.t_errors is not None:
            self.t_errors[rows] = prediction.t_errors.cpu().numpy()
        for t, maps in prediction.maps.items():
            self.maps[t][rows] = maps.cpu().numpy()
        self.done = rows.stop
        self.queries = [total + batch for total, batch in zip(self.queries, prediction.queries, strict=True)]
        if time.monotonic() - self.saved_at > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Record the progress, after what it speaks of."""
        for array in [*([self.t_errors] if self.t_errors is not None else []), *self.maps.values()]:
            array.flush()
        record: dict[str, Json] = {"done": self.done, "timesteps": self.steps, "queries": self.queries}
        for path in self.workspaces:
            write_json(path / SCRATCH / "progress.json", record)
        self.saved_at = time.monotonic()

    def finish(self) -> None:
        """Leave the workspaces as the entries shall be."""
        self.save()
        if self.errors:
            per_sample = [total // self.n for total in self.queries]
            write_json(self.errors / "trajectory.json", {"timesteps": self.steps, "queries_per_sample": per_sample})
