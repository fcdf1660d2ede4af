"""Images that the target generates: what attacks from the time of GANs and VAEs are made on, in place of queries.

The target is sampled by deterministic DDIM, once for all attacks that ask for the same number of samples, steps and
seed. No image that is attacked plays a part in it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.data.images import Images
from secmi_exp.data.stored_rows import StoredRows
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.store import Json, Key, Store
from secmi_exp.targets.interface import Pixels, PreparedTarget

if TYPE_CHECKING:
    from secmi_exp.engine.batches import Array

log = logging.getLogger(__name__)

VERSION = 1
"""Of the sampling; raised when the same configuration would give other images."""


@plain_dataclass(frozen=True)
class Generated:
    """Samples of the target, in the store."""

    pixels: StoredRows
    """Uint8, [M, C, H, W]."""
    key: Key
    """What they are, for the keys of what is computed from them."""
    queries: int
    """That all of them took together."""
    spent: int
    """Queries made for them that no results have told yet; see `QueryTally`."""


@plain_dataclass(frozen=True)
class InitialNoise:
    """x_T of M samples, made when a batch is asked for: each depends on its number and the seed alone."""

    seed: int
    count: int
    """M."""
    image: tuple[int, ...]
    """(C, H, W)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, C, H, W)."""
        return (self.count, *self.image)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Standard normal numbers, [B, C, H, W]."""
        numbers = np.arange(self.count)[rows]
        draws = [np.random.default_rng([self.seed, number]) for number in numbers.tolist()]
        return np.stack([draw.standard_normal(self.image, dtype=np.float32) for draw in draws])


@plain_dataclass(frozen=True)
class Sampling:
    """How many images a target generates, and how."""

    samples: int
    """M."""
    steps: int
    """Of DDIM for each of them, one query each."""
    seed: int
    """Of x_T."""
    asked_by: str
    """Config group that the settings are in, for what is told of mistakes."""

    def check(self, timesteps: Timesteps) -> None:
        """Compare with the timesteps of the target.

        Raises:
            UserError: for more steps than timesteps, and for a target that can't be sampled from its last one.
        """
        if self.steps > timesteps.count:
            raise UserError(
                f"{self.asked_by}.steps={self.steps} exceeds the {timesteps.count} timesteps of the target's "
                "schedule: choose at most as many."
            )
        if timesteps.last_image < timesteps.count - 1:
            raise UserError(
                f"{self.asked_by}.samples={self.samples} asks for samples of the target, which can't be sampled from "
                f"timestep {timesteps.count - 1}: ᾱ is 0 there (zero terminal SNR), and the noise that it predicts "
                "tells no image; choose an attack that asks about the images themselves, such as attack=stat, and "
                "quality.samples=null."
            )

    def generated(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Generated:
        """Samples of the target, from the store or by sampling.

        Args:
            target: to be sampled.
            images: that the samples are compared with, for their shape.
            store: where the samples are kept.
            runtime: the machine.

        Raises:
            UserError: for latent targets, and where the samples are not finite.
        """
        if not isinstance(target.inputs(images, store, runtime), Pixels):
            raise UserError(
                f"{self.asked_by}.samples={self.samples} asks for samples of the target, and decoding samples isn't "
                "offered for text-to-image targets: choose an attack that asks about the images themselves, such as "
                "attack=stat, and quality.samples=null."
            )
        noise = InitialNoise(self.seed, self.samples, images.shape)
        config: dict[str, Json] = {
            "samples": self.samples, "steps": self.steps, "seed": self.seed, "image": images.shape,
            "precision": runtime.query_precision,
        }  # fmt: skip
        key = Key("samples", VERSION, config, {"target": target.key}, ("samples.npy", "queries.json"), self.asked_by)
        tally = store.tally(key)

        def build(workspace: Path) -> None:
            from secmi_exp.attacks.signals.samples import draw_samples

            log.info("Drawing %d samples of the target, %d predictions each.", self.samples, self.steps)
            runtime.run_on_all_ranks(draw_samples, workspace, noise, self.steps, target.load, tally.file(), runtime)

        entry = store.get_or_build(key, build).path
        queries = json.loads((entry / "queries.json").read_text(encoding="utf-8"))["queries"]
        pixels = StoredRows(entry / "samples.npy", np.arange(self.samples))
        return Generated(pixels, key, queries, tally.unreported())


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SampledAttack(Attack):
    """An attack on samples of a target in pixel space.

    Its queries per sample are those of all generated samples, shared out among the attacked images and rounded up: what
    it costs depends on how many are generated, and not on how many are attacked.
    """

    samples: PositiveInt
    """M, images that the target generates."""
    steps: PositiveInt
    """Of DDIM for each of them, one query each."""
    seed: NonNegativeInt
    """Of x_T, and of what is fitted to the samples."""

    @property
    def sampling(self) -> Sampling:
        """What is asked of the target."""
        return Sampling(self.samples, self.steps, self.seed, "attack")

    def check(self, timesteps: Timesteps) -> None:
        """See `Attack.check` and `Sampling.check`."""
        self.sampling.check(timesteps)
        super().check(timesteps)

    def facts(self) -> dict[str, Json]:
        """What a reader of the results has to know of the samples."""
        return {"generated": {"samples": self.samples, "steps": self.steps, "seed": self.seed}}


def measurements_on(
    generated: Generated, values: Mapping[str, Array], images: Images, key: Key, facts: dict[str, Json]
) -> Measurements:
    """What an attack has measured with these samples, n images at a cost that they share."""
    return Measurements(
        {**values, "pixels": images},
        queries_per_sample=-(-generated.queries // len(images)),
        queries_spent=generated.spent,
        key=key,
        facts=facts,
    )
