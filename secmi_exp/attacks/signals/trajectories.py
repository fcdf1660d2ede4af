"""SecMI's trajectories as they are stored: t-errors at every timestep, error maps, and the state that a walk ended at.

What the store lacks is computed by `walk`. Nothing here takes a membership label.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secmi_exp.attacks.signals.approach import Approach
from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import approach_queries, timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Entry, Input, Key, Store, write_json
from secmi_exp.targets.interface import InputArrays, Inputs, PreparedTarget

WalkPlan = Deferred("secmi_exp.attacks.signals.walk:WalkPlan")
walk_images = Deferred("secmi_exp.attacks.signals.walk:walk_images")

log = logging.getLogger(__name__)

VERSION = 2
"""Version of the computation; raised when the same configuration would give other numbers."""

ARRAYS = {"t_errors": ("t_errors.npy",), "error_maps": ("maps.npy",), "states": ("x.npy", "eps.npy")}
"""Kind of entry → its arrays, with a row for each image."""
FACTS = "queries.json"
"""Beside them: the queries per sample that they took, and of t-errors what the network was given at t_sec."""

NOISE = ("noise_to_signal", "network_time")


@dataclass(frozen=True)
class Trajectories:
    """The t-errors and error maps of each image, memory-mapped from the store."""

    timesteps: list[int]
    """Values of t_sec, ascending."""
    t_errors: NDArray[np.float32]
    """[n, len(timesteps)]."""
    maps: Mapping[int, NDArray[np.float16]]
    """t_sec → [n, C, H, W], where kept."""
    queries: list[int]
    """Queries per sample, counted at the noise predictor, until the t-error at each timestep was complete."""
    noise: list[dict[str, Json]]
    """``noise_to_signal`` σ/α and ``network_time`` at each timestep; empty for older entries."""
    queries_spent: int
    """Queries made for it that no results include yet, over all samples; see `QueryTally`."""
    key: Key
    """Identifies them in the keys of what is computed from them."""
    facts: dict[str, Json]
    """How the target's inputs were made, for results.json."""

    def t_error(self, t_sec: int) -> NDArray[np.float32]:
        """Return the t-errors at one timestep, [n]."""
        return self.t_errors[:, self.timesteps.index(t_sec)]

    def queries_per_sample(self, t_sec: int) -> int:
        """Return the queries that an attack at this timestep takes."""
        return self.queries[self.timesteps.index(t_sec)]


@dataclass(frozen=True)
class TrajectoryKeys:
    """Keys of what a walk over these images leaves in the store.

    Each timestep's t-errors and maps are entries of their own, whatever walk they came from, so that walks of any
    length share them. The state that a walk ended at is kept beside them, so that a longer one continues there.
    """

    target: PreparedTarget
    inputs: Inputs
    k: int
    precision: str
    approach: Approach | None = None
    """How each t-error's states were reached, where they were not reached by one walk to all timesteps."""

    def key(self, kind: str, t: int) -> Key:
        """Return the key of ``t_errors``, ``error_maps`` or ``states`` at a timestep."""
        return Key(kind, VERSION, {**self._config, "t": t}, self._inputs, (*ARRAYS[kind], FACTS), f"t={t}")

    @property
    def whole(self) -> Key:
        """The key of the whole trajectory, of any length."""
        return Key("trajectory", VERSION, self._config, self._inputs)

    @property
    def _config(self) -> dict[str, Json]:
        approach: dict[str, Json] = {"approach": self.approach.facts()} if self.approach else {}
        return {"k": self.k, "precision": self.precision, **approach}

    @property
    def _inputs(self) -> dict[str, Input]:
        return {"target": self.target.key, "images": self.inputs.key}


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
    """Walk every image's trajectory to t_max, from as far as the store has it.

    Args:
        target: the target that is queried.
        images: n of them.
        k: DDIM interval.
        t_max: last timestep walked to; a multiple of k.
        maps: timesteps whose error maps are kept, as float16.
        store: store of the results.
        runtime: the machine.
    """
    keys = TrajectoryKeys(target, target.inputs(images, store, runtime), k, runtime.query_precision)
    steps = timesteps(k, t_max)

    def extend(missing_errors: Mapping[int, Path], missing_maps: Mapping[int, Path]) -> None:
        _extend(keys, missing_errors, missing_maps, store, runtime)

    found = _get_or_build(keys, len(images), steps, maps, extend, store)
    _discard_older_states(keys, steps, store)
    return found


def compute_by_approach(
    target: PreparedTarget,
    images: Images,
    *,
    k: int,
    compared: Sequence[int],
    approach: Approach,
    maps: Sequence[int],
    store: Store,
    runtime: Runtime,
) -> Trajectories:
    """Compute the t-errors at a few timesteps, each approached by itself, so that none depends on the others asked for.

    Args:
        target: the target that is queried.
        images: n of them.
        k: DDIM interval of the round trip.
        compared: values of t_sec, ascending.
        approach: how the states at t_sec − k are reached.
        maps: timesteps whose error maps are kept, as float16.
        store: store of the results.
        runtime: the machine.
    """
    keys = TrajectoryKeys(target, target.inputs(images, store, runtime), k, runtime.query_precision, approach)

    def extend(missing_errors: Mapping[int, Path], missing_maps: Mapping[int, Path]) -> None:
        arrays = keys.inputs.arrays()
        for t in sorted({*missing_errors, *missing_maps}):
            log.info(
                "Approaching t = %d with %d trajectories; predictions each: %d in precision %s on the way, 2 in %s.",
                t, len(images), approach_queries(approach.k, t - k), approach.precision, runtime.query_precision,
            )  # fmt: skip
            errors, its_maps = ({t: missing[t]} if t in missing else {} for missing in (missing_errors, missing_maps))
            plan = WalkPlan(k, t - k, None, 0, t, errors, its_maps, approach=approach)
            _fill(keys, plan, arrays, store, runtime)

    found = _get_or_build(keys, len(images), compared, maps, extend, store)
    return replace(found, queries=np.cumsum(found.queries).tolist())


def _get_or_build(
    keys: TrajectoryKeys,
    n: int,
    steps: Sequence[int],
    maps: Sequence[int],
    extend: Callable[[Mapping[int, Path], Mapping[int, Path]], None],
    store: Store,
) -> Trajectories:
    """Find t-errors [n] at some timesteps, and maps at others, and have those built that the store lacks.

    Args:
        keys: of the entries.
        n: number of images.
        steps: values of t_sec.
        maps: values of t_sec whose maps are wanted.
        extend: fills workspaces, by t_sec: of t-errors, and of maps.
        store: store of the results.
    """
    error_keys = {t: keys.key("t_errors", t) for t in steps}
    map_keys = {t: keys.key("error_maps", t) for t in maps}

    def build(workspaces: dict[str, Path]) -> None:
        missing_errors, missing_maps = (
            {t: workspaces[key.digest] for t, key in wanted.items() if key.digest in workspaces}
            for wanted in (error_keys, map_keys)
        )
        extend(missing_errors, missing_maps)

    entries = store.get_or_build_all([*error_keys.values(), *map_keys.values()], build)
    errors, kept = entries[: len(steps)], entries[len(steps) :]
    found: list[Any] = [read_facts(entry.path) for entry in errors]
    t_errors = np.empty((n, len(steps)), np.float32)
    for column, entry in enumerate(errors):
        t_errors[:, column] = np.load(entry.path / "t_errors.npy", mmap_mode="r")
    return Trajectories(
        timesteps=list(steps),
        t_errors=t_errors,
        maps={t: np.load(entry.path / "maps.npy", mmap_mode="r") for t, entry in zip(maps, kept, strict=True)},
        queries=[each["queries_per_sample"] for each in found],
        noise=[{name: each[name] for name in NOISE if name in each} for each in found],
        queries_spent=store.tally(keys.whole).unreported(),
        key=keys.whole,
        facts=keys.inputs.facts(),
    )


def read_facts(folder: Path) -> dict[str, Json]:
    """Read what lies in an entry beside its arrays: see `walk_images`."""
    facts: dict[str, Json] = json.loads((folder / FACTS).read_text())
    return facts


def _extend(
    keys: TrajectoryKeys,
    missing_errors: Mapping[int, Path],
    missing_maps: Mapping[int, Path],
    store: Store,
    runtime: Runtime,
) -> None:
    """Fill the workspaces from the nearest state that an earlier walk has left."""
    k, needed = keys.k, {*missing_errors, *missing_maps}
    start, state = _nearest_state(keys, min(needed) - k, store)
    last = max(needed)
    end = max(missing_errors, default=0)
    arrays = keys.inputs.arrays()
    log.info(
        "Walking %d trajectories from t = %d to %d: %d predictions each, in precision %s.",
        len(arrays.x_0), start, last, (last - start) // k + (start == 0), runtime.query_precision,
    )  # fmt: skip

    def walk(last_state: Path | None) -> None:
        before: Any = read_facts(state.path)["queries_per_sample"] if state else 0
        plan = WalkPlan(k, start, state.path if state else None, before, last, missing_errors, missing_maps, last_state)
        _fill(keys, plan, arrays, store, runtime)

    # The state is there before the t-errors are, so that a killed process leaves none of them without it. Where it is
    # there already, the walk was killed afterwards: its rows are compared with their checksums, and none is missing.
    if end != last or store.get_or_build(keys.key("states", last), walk).reused:
        walk(None)


def _fill(keys: TrajectoryKeys, plan: Any, arrays: InputArrays, store: Store, runtime: Runtime) -> None:
    """Carry out a `WalkPlan`."""
    tally = store.tally(keys.whole)
    for workspace, facts in walk_images(runtime, plan, keys.target.load, arrays, tally.file()).items():
        write_json(workspace / FACTS, facts)


def _nearest_state(keys: TrajectoryKeys, t_max: int, store: Store) -> tuple[int, Entry | None]:
    for t in reversed(timesteps(keys.k, t_max)):
        entry = store.find(keys.key("states", t))
        if entry:
            return t, entry
    return 0, None


def _discard_older_states(keys: TrajectoryKeys, steps: Sequence[int], store: Store) -> None:
    """Keep the furthest state alone: whoever goes on does so from that one.

    This comes after all else, and in every run, so that a kill neither costs what is needed yet nor leaves what isn't.
    """
    states = [keys.key("states", t) for t in steps]
    stored = [number for number, key in enumerate(states) if store.has(key)]
    for key in states[: max(stored, default=0)]:
        store.discard(key)
