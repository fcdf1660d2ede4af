"""Attacks that query the target a fixed number of times about each image, and get a few numbers for it."""

import json
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import Attack, refuse_beyond
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.signals.query_batch import QueryBatch
from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.noise_predictor_type import NoisePredictor
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Key, Store, write_json
from secmi_exp.store.class_identity import class_identity
from secmi_exp.targets.interface import InputArrays, PreparedTarget
from secmi_exp.torch_on_use import Tensor, torch

query_dtype = Deferred("secmi_exp.engine.trainers:query_dtype")
query_rows = Deferred("secmi_exp.engine.queries:query_rows")
trial_batch = Deferred("secmi_exp.attacks.signals.trial_batch:trial_batch")

log = logging.getLogger(__name__)

LISTED = 32
"""Values that have a column each in scores.parquet, at most; of an attack with more, none has."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class QueryAttack(Attack):
    """An attack whose values are those that `query` returns, each under its name, and all as ``features`` [n, F]."""

    version: ClassVar[int]
    """Raised when the same configuration would give other values."""
    gradients: ClassVar[bool] = False
    """Whether it computes gradients of the target."""

    @property
    @abstractmethod
    def queried_timesteps(self) -> dict[str, int]:
        """Setting → the largest timestep that it makes the attack query."""

    @abstractmethod
    def query(self, batch: QueryBatch) -> Mapping[str, Tensor]:
        """Query the target about a batch; each image costs the same number of queries.

        Returns:
            Name → a value for each image, [B].
        """

    def value_names(self, predictor: NoisePredictor) -> Sequence[str]:
        """Names of the values, F; by default those that `query` returns for an image in place of a target's."""
        return list(self.query(trial_batch()))

    @property
    def measured_names(self) -> frozenset[str] | None:
        """See `Attack.measured_names`; ``values`` are known without torch."""
        return frozenset({*(self.values or self.query(trial_batch())), "features", "pixels"})

    def check(self, timesteps: Timesteps) -> None:
        """See `Attack.check`."""
        for name, t in self.queried_timesteps.items():
            refuse_beyond(name, t, timesteps, "noise")
        super().check(timesteps)

    def key_config(self) -> dict[str, Json]:
        """All that decides the values, besides target, images and precision."""
        settings = {name: value for name, value in asdict(self).items() if name not in ("name", "scorers")}
        return {"attack": class_identity(type(self)), **settings}

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """Query the target, or find the values in the store."""
        inputs = target.inputs(images, store, runtime)
        key = Key(
            "values",
            self.version,
            {"precision": runtime.query_precision, **self.key_config()},
            {"target": target.key, "images": inputs.key},
            files=("values.npy", "values.json"),
            label=self.name,
        )
        tally = store.tally(key)

        def build(workspace: Path) -> None:
            log.info("Querying the target about %d images (%s).", len(images), self.name)
            names, queries = runtime.run_on_all_ranks(
                query_images, self, workspace, target.load, inputs.arrays(), tally.file(), runtime
            )
            write_json(workspace / "values.json", {"columns": names, "queries_per_sample": queries})

        entry = store.get_or_build(key, build).path
        stored = json.loads((entry / "values.json").read_text(encoding="utf-8"))
        features = np.load(entry / "values.npy", mmap_mode="r")
        names = stored["columns"]
        return Measurements(
            {**{name: features[:, f] for f, name in enumerate(names)}, "features": features, "pixels": images},
            queries_per_sample=stored["queries_per_sample"],
            queries_spent=tally.unreported(),
            key=key,
            facts=inputs.facts(),
            last_timestep=max(self.queried_timesteps.values(), default=None),
            unlisted=frozenset(names if len(names) > LISTED else ()),
        )


def query_images(
    attack: QueryAttack,
    workspace: Path,
    load: Callable[[], NoisePredictor],
    inputs: InputArrays,
    query_file: Path,
    runtime: Runtime,
) -> tuple[list[str], int]:
    """Fill values.npy [n, F]; called on every rank.

    Returns:
        Names of the values, and on rank 0 the queries a sample.
    """
    predictor = load().to(query_dtype(runtime.query_precision))
    names = list(attack.value_names(predictor))
    file = workspace / "values.npy"
    queries = query_rows(
        [predictor],
        partial(query_batch, attack, predictor, tuple(inputs.condition), names, file),
        (inputs.x_0, *inputs.condition.values()),
        {file: ((len(names),), np.dtype(np.float64))},
        [workspace],
        query_file,
        runtime,
        gradients=attack.gradients,
    )
    return names, int(queries[workspace][0]) if queries else 0


def query_batch(
    attack: QueryAttack,
    predictor: NoisePredictor,
    condition_names: Sequence[str],
    names: Sequence[str],
    file: Path,
    images: Tensor,
    *conditions: Tensor,
) -> Iterator[tuple[Path, Tensor]]:
    """Query the target about one batch.

    Args:
        attack: queries it.
        predictor: the target.
        condition_names: names of the conditions.
        names: names of the values, in the order of the file's columns.
        file: file that the values are written to.
        images: images in the target's input format, [B, …].
        conditions: conditions of the images, [B, …] each.
    """
    condition = dict(zip(condition_names, conditions, strict=True))
    values = attack.query(QueryBatch(predictor, predictor.encode(images), condition))
    yield file, torch.stack([values[name] for name in names], dim=1).double()
