"""Images that the target generates, which attacks from the time of GANs and VAEs compare the attacked images with.

The target is sampled by deterministic DDIM, once for all attacks that ask for the same number of samples, steps and
seed. No image that is attacked plays a part in it.

Source: Song et al., "Denoising Diffusion Implicit Models" (ICLR 2021), equation 12 with σ = 0.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from pathlib import Path

import numpy as np
from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.signals.initial_noise import InitialNoise
from secmi_exp.data.images import Images
from secmi_exp.data.stored_rows import RowArray, StoredRows
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.store import Key, Store, write_json
from secmi_exp.targets.interface import InputSpace, PreparedTarget

draw_samples = Deferred("secmi_exp.attacks.signals.sampling:draw_samples")

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the sampling; raised when the same configuration would give other images."""


@plain_dataclass(frozen=True)
class Samples:
    """Samples of the target, in the store."""

    pixels: StoredRows
    """Uint8, [M, C, H, W]."""
    key: Key
    """Identifies them in the keys of what is computed from them."""
    queries: int
    """Queries that all of them took together."""
    queries_spent: int
    """Queries made for them that no results include yet; see `QueryTally`."""


@plain_dataclass(frozen=True)
class Sampling:
    """How many images a target generates, and how."""

    samples: int
    """M."""
    steps: int
    """Steps of DDIM for each of them, one query each."""
    seed: int
    """Seed of x_T."""
    group: str
    """Config group of the settings, for messages."""
    setting: str | None = None
    """What asks for the samples, for messages; None: the group's ``samples``."""

    @property
    def asks(self) -> str:
        """The beginning of a sentence: which setting asks for samples."""
        return f"{self.setting or f'{self.group}.samples={self.samples}'} asks for samples of the target"

    @property
    def advice(self) -> str:
        """What to do where there can be none, as the end of a sentence."""
        if self.setting:
            return "choose hold-outs that are not generated"
        return "choose an attack that asks about the images themselves, such as attack=stat, and quality.samples=null"

    def check(self, timesteps: Timesteps) -> None:
        """Compare with the timesteps of the target.

        Raises:
            UserError: for more steps than timesteps, and for a target that can't be sampled from its last one.
        """
        if self.steps > timesteps.count:
            raise UserError(
                f"{self.group}.steps={self.steps} exceeds the {timesteps.count} timesteps of the target's "
                "schedule: choose at most as many."
            )
        if timesteps.last_image < timesteps.count - 1:
            raise UserError(
                f"{self.asks}, which can't be sampled from timestep {timesteps.count - 1}: ᾱ is 0 there (zero terminal "
                f"SNR), and the noise that it predicts tells no image; {self.advice}."
            )

    def check_space(self, space: InputSpace) -> None:
        """Compare with what the target is queried about.

        Raises:
            UserError: for latent and conditional targets.
        """
        if space != "pixels":
            raise UserError(
                f"{self.asks}, which are offered for unconditional targets in pixel space alone: {self.advice}."
            )

    def draw(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Samples:
        """Draw samples of the target, or find them in the store.

        Args:
            target: the target that generates the samples.
            images: images that the samples are compared with, for their shape.
            store: store of the samples.
            runtime: the machine.

        Raises:
            UserError: where the samples are not finite.
        """
        noise = InitialNoise(self.seed, self.samples, images.shape)
        config: dict[str, Json] = {
            "samples": self.samples, "steps": self.steps, "seed": self.seed, "image": images.shape,
            "precision": runtime.query_precision,
        }  # fmt: skip
        key = Key("samples", VERSION, config, {"target": target.key}, ("samples.npy", "queries.json"), self.group)
        tally = store.tally(key)

        def build(workspace: Path) -> None:
            log.info("Drawing %d samples of the target, %d predictions each.", self.samples, self.steps)
            queries = runtime.run_on_all_ranks(
                draw_samples, workspace, noise, self.steps, target.load, tally.file(), runtime
            )
            write_json(workspace / "queries.json", {"queries": queries})

        entry = store.get_or_build(key, build).path
        queries = json.loads((entry / "queries.json").read_text(encoding="utf-8"))["queries"]
        pixels = StoredRows(entry / "samples.npy", np.arange(self.samples))
        return Samples(pixels, key, queries, tally.unreported())


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SampledAttack(Attack):
    """An attack on samples of a target in pixel space.

    Its queries per sample are those of all generated samples, shared out among the attacked images and rounded up: what
    it costs depends on how many are generated, and not on how many are attacked.
    """

    samples: PositiveInt
    """M, images that the target generates."""
    steps: PositiveInt
    """Steps of DDIM for each of them, one query each."""
    seed: NonNegativeInt
    """Seed of x_T, and of what is fitted to the samples."""

    @property
    def sampling(self) -> Sampling:
        """How the target is sampled."""
        return Sampling(self.samples, self.steps, self.seed, "attack")

    def check(self, timesteps: Timesteps) -> None:
        """See `Attack.check` and `Sampling.check`."""
        self.sampling.check(timesteps)
        super().check(timesteps)

    def check_space(self, space: InputSpace) -> None:
        """See `Attack.check_space`."""
        self.sampling.check_space(space)

    def facts(self) -> dict[str, Json]:
        """How many samples were drawn and how, for results.json."""
        return {"generated": {"samples": self.samples, "steps": self.steps, "seed": self.seed}}


def measurements_on(
    samples: Samples, values: Mapping[str, RowArray], images: Images, key: Key, facts: dict[str, Json]
) -> Measurements:
    """Return what an attack has measured with these samples; n images share their queries."""
    return Measurements(
        {**values, "pixels": images},
        queries_per_sample=-(-samples.queries // len(images)),
        queries_spent=samples.queries_spent,
        key=key,
        facts=facts,
    )
