"""The signal of SecMI: t-errors of whole trajectories, and error maps, from the store or by walking.

Nothing here takes a membership label: a signal gets images in dataset order and the target.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.store import Entry, Input, Json, Key, Store
from secmi_exp.store.query_tally import QueryTally
from secmi_exp.targets.interface import Inputs, PreparedTarget

log = logging.getLogger(__name__)

VERSION = 2
"""Of the computation; raised when the same configuration would give other numbers."""

ARRAYS = {"t_errors": ("t_errors.npy",), "error_maps": ("maps.npy",), "states": ("x.npy", "eps.npy")}
"""Kind of entry → its arrays, with a row for each image."""
QUERIES = "queries.json"
"""Beside them: the queries per sample that they took."""


@dataclass(frozen=True)
class Trajectories:
    """What the target gave for each image, memory-mapped from the store."""

    timesteps: list[int]
    """Values of t_sec, ascending."""
    t_errors: NDArray[np.float32]
    """[n, len(timesteps)]."""
    maps: Mapping[int, NDArray[np.float16]]
    """t_sec → [n, C, H, W], where kept."""
    queries: list[int]
    """Queries per sample, counted at the noise predictor, until the t-error at each timestep was complete."""
    queries_spent: int
    """Queries made for it that no results have told yet, over all samples; see `QueryTally`."""
    key: Key
    """What they are, for the keys of what is computed from them."""
    facts: dict[str, Json]
    """What a reader of the results has to know of the target's inputs."""

    def t_error(self, t_sec: int) -> NDArray[np.float32]:
        """The t-errors at one timestep, [n]."""
        return self.t_errors[:, self.timesteps.index(t_sec)]

    def queries_per_sample(self, t_sec: int) -> int:
        """What an attack at this timestep costs."""
        return self.queries[self.timesteps.index(t_sec)]


@dataclass(frozen=True)
class Trajectory:
    """Names what a walk over these images leaves in the store.

    Each timestep's t-errors and maps are entries of their own, whatever walk they came from, so that walks of any
    length share them. The state that a walk ended at is kept beside them, so that a longer one continues there.
    """

    target: PreparedTarget
    inputs: Inputs
    k: int
    precision: str

    def key(self, kind: str, t: int) -> Key:
        """Of ``t_errors``, ``error_maps`` or ``states`` at a timestep."""
        return Key(kind, VERSION, {**self._config, "t": t}, self._inputs, (*ARRAYS[kind], QUERIES), f"t={t}")

    @property
    def whole(self) -> Key:
        """The key of the whole trajectory, however far it was walked."""
        return Key("trajectory", VERSION, self._config, self._inputs)

    @property
    def _config(self) -> dict[str, Json]:
        return {"k": self.k, "precision": self.precision}

    @property
    def _inputs(self) -> dict[str, Input]:
        return {"target": self.target.key, "images": self.inputs.key}


@dataclass(frozen=True)
class Plan:
    """What a walk starts from and leaves behind; each rank gets it whole."""

    k: int
    start: int
    """Timestep of the state that it starts from; 0: the images themselves."""
    start_state: Path | None
    """Folder of that state."""
    last: int
    """Timestep that it ends at."""
    t_errors: Mapping[int, Path]
    """t_sec → workspace, of those that are missing."""
    maps: Mapping[int, Path]
    """t_sec → workspace, of those that are missing."""
    last_state: Path | None
    """Workspace for the state at the end; None where it isn't wanted, or there already."""

    @property
    def workspaces(self) -> list[Path]:
        """All folders of entries that are being built."""
        return [*self.t_errors.values(), *self.maps.values(), *([self.last_state] if self.last_state else [])]


def compute_trajectories(
    target: PreparedTarget,
    images: Images,
    *,
    k: int,
    t_max: int,
    maps: Sequence[int],
    store: Store,
    runtime: Runtime,
) -> Trajectories:
    """Walk every image's trajectory to t_max, or find in the store how far it was walked before.

    Args:
        target: to be queried.
        images: n of them.
        k: DDIM interval.
        t_max: last timestep walked to; a multiple of k.
        maps: timesteps whose error maps are kept, as float16.
        store: where all is kept.
        runtime: the machine.
    """
    inputs = target.inputs(images, store, runtime)
    trajectory = Trajectory(target, inputs, k, runtime.query_precision)
    steps = timesteps(k, t_max)
    error_keys = {t: trajectory.key("t_errors", t) for t in steps}
    map_keys = {t: trajectory.key("error_maps", t) for t in maps}
    tally = store.tally(trajectory.whole)

    def build(workspaces: dict[str, Path]) -> None:
        missing_errors, missing_maps = (
            {t: workspaces[key.digest] for t, key in keys.items() if key.digest in workspaces}
            for keys in (error_keys, map_keys)
        )
        _extend(trajectory, missing_errors, missing_maps, tally, store, runtime)

    entries = store.get_or_build_all([*error_keys.values(), *map_keys.values()], build)
    _discard_older_states(trajectory, steps, store)
    errors, kept = entries[: len(steps)], entries[len(steps) :]
    t_errors = np.empty((len(images), len(steps)), np.float32)
    for column, entry in enumerate(errors):
        t_errors[:, column] = np.load(entry.path / "t_errors.npy", mmap_mode="r")
    return Trajectories(
        timesteps=steps,
        t_errors=t_errors,
        maps={t: np.load(entry.path / "maps.npy", mmap_mode="r") for t, entry in zip(maps, kept, strict=True)},
        queries=[queries_per_sample(entry.path) for entry in errors],
        queries_spent=tally.unreported(),
        key=trajectory.whole,
        facts=inputs.facts(),
    )


def queries_per_sample(folder: Path) -> int:
    """The count that lies in an entry beside its arrays."""
    return int(json.loads((folder / QUERIES).read_text())["queries_per_sample"])


def _extend(
    trajectory: Trajectory,
    missing_errors: Mapping[int, Path],
    missing_maps: Mapping[int, Path],
    tally: QueryTally,
    store: Store,
    runtime: Runtime,
) -> None:
    """Fill the workspaces from the nearest state that an earlier walk has left."""
    from secmi_exp.attacks.signals.walk import walk_images

    k, needed = trajectory.k, {*missing_errors, *missing_maps}
    start, state = _nearest_state(trajectory, min(needed) - k, store)
    last = max(needed)
    end = max(missing_errors, default=0)
    arrays = trajectory.inputs.arrays()
    log.info(
        "Walking %d trajectories from t = %d to %d: %d predictions each.",
        len(arrays.x_0), start, last, (last - start) // k + (start == 0),
    )  # fmt: skip

    def walk(last_state: Path | None) -> None:
        plan = Plan(k, start, state.path if state else None, last, missing_errors, missing_maps, last_state)
        runtime.run_on_all_ranks(walk_images, plan, trajectory.target.load, arrays, tally.file(), runtime)

    # The state is there before the t-errors are, so that a killed process leaves none of them without it. Where it is
    # there already, the walk was killed afterwards: its rows are compared with their checksums, and none is missing.
    if end != last or store.get_or_build(trajectory.key("states", last), walk).reused:
        walk(None)


def _nearest_state(trajectory: Trajectory, t_max: int, store: Store) -> tuple[int, Entry | None]:
    for t in reversed(timesteps(trajectory.k, t_max)):
        entry = store.find(trajectory.key("states", t))
        if entry:
            return t, entry
    return 0, None


def _discard_older_states(trajectory: Trajectory, steps: Sequence[int], store: Store) -> None:
    """Keep the furthest state alone: whoever goes on does so from that one.

    This comes after all else, and in every run, so that a kill neither costs what is needed yet nor leaves what isn't.
    """
    keys = [trajectory.key("states", t) for t in steps]
    there = [number for number, key in enumerate(keys) if store.has(key)]
    for key in keys[: max(there, default=0)]:
        store.discard(key)
