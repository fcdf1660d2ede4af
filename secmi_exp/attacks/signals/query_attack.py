"""Attacks that ask the target a fixed number of questions about each image, and get a few numbers for it."""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import Attack, refuse_beyond
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.data.images import Images
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import class_identity
from secmi_exp.targets.interface import PreparedTarget

if TYPE_CHECKING:
    from torch import Tensor

    from secmi_exp.attacks.signals.query_batch import QueryBatch
    from secmi_exp.diffusion.noise_predictor import NoisePredictor

log = logging.getLogger(__name__)

SHOWN = 32
"""Values that are also there one by one, in scores.parquet too; of an attack with more, none is."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class QueryAttack(Attack):
    """An attack whose values are those that `values` gives, each under its name, and all as ``features`` [n, F]."""

    version: ClassVar[int]
    """Of its code; raised when the same configuration would give other values."""
    white_box: ClassVar[bool] = False
    """Whether it needs gradients."""

    @property
    @abstractmethod
    def queried_timesteps(self) -> dict[str, int]:
        """Setting → the largest timestep that it asks for."""

    @abstractmethod
    def columns(self, predictor: NoisePredictor) -> list[str]:
        """Names of the values, F."""

    @abstractmethod
    def values(self, question: Question) -> Tensor:
        """The values of a batch, [B, F].

        Args:
            question: about the batch.
        """

    def check(self, timesteps: Timesteps) -> None:
        """See `Attack.check`."""
        for name, t in self.queried_timesteps.items():
            refuse_beyond(name, t, timesteps, "noise")
        super().check(timesteps)

    def measure(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Measurements:
        """From the store, or by asking."""
        inputs = target.inputs(images, store, runtime)
        config = {name: value for name, value in asdict(self).items() if name not in ("name", "scorers")}
        key = Key(
            "values",
            self.version,
            {"attack": class_identity(type(self)), "precision": runtime.query_precision, **config},
            {"target": target.key, "images": inputs.key},
            files=("values.npy", "values.json"),
            label=self.name,
        )
        tally = store.tally(key)

        def build(workspace: Path) -> None:
            from secmi_exp.attacks.asking import ask

            log.info("Asking the target about %d images (%s).", len(images), self.name)
            runtime.run_on_all_ranks(ask, workspace, self, target.load, inputs.arrays(), tally.file(), runtime)

        entry = store.get_or_build(key, build).path
        told = json.loads((entry / "values.json").read_text(encoding="utf-8"))
        features = np.load(entry / "values.npy", mmap_mode="r")
        single = {name: features[:, column] for column, name in enumerate(told["columns"][:SHOWN])}
        return Measurements(
            {**(single if len(told["columns"]) <= SHOWN else {}), "features": features, "pixels": images},
            queries_per_sample=told["queries_per_sample"],
            queries_spent=tally.unreported(),
            key=key,
            facts=inputs.facts(),
            last_timestep=max(self.queried_timesteps.values(), default=None),
        )
