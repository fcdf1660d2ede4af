"""How good a target is: its denoising loss on hold-outs, and the distance of its samples from them."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.finite_values import refuse_non_finite_values
from secmi_exp.attacks.signals.samples import Sampling
from secmi_exp.configuration.user_path import UserPath
from secmi_exp.data.images import Images
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.evaluation.distributions import mean_interval
from secmi_exp.evaluation.scored import Interval
from secmi_exp.files.strict_json import Json, as_strict_json
from secmi_exp.quality.measures import Measures
from secmi_exp.store import Input, Key, Store, write_json
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import InputSpace, PreparedTarget

Loss = Deferred("secmi_exp.attacks.loss:Loss")
inception = Deferred("secmi_exp.quality.inception:inception")
inception_distance = Deferred("secmi_exp.quality.distances:inception_distance")
kernel_distance = Deferred("secmi_exp.quality.distances:kernel_distance")

first_device = Deferred("secmi_exp.engine.trainers:first_device")

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the distances; raised when the same samples and images would give others."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Quality:
    """Its fields are those of ``conf/quality/measured.yaml``."""

    timesteps: PositiveInt
    noises: PositiveInt
    samples: PositiveInt | None
    steps: PositiveInt
    blocks: Annotated[int, Field(ge=2)]
    inception: UserPath | None
    seed: NonNegativeInt

    def check(self, timesteps: Timesteps) -> None:
        """Compare with the timesteps of the target.

        Raises:
            UserError: for more steps or timesteps than the schedule has, or such that the target tells nothing at, and
                weights that aren't there.
        """
        if self.timesteps > timesteps.count:
            raise UserError(
                f"quality.timesteps={self.timesteps} exceeds the {timesteps.count} of the target's schedule: choose "
                "at most as many."
            )
        if max(self._spread(timesteps.count)) > timesteps.last_noise:
            raise UserError(
                f"quality.timesteps={self.timesteps} are so many that timestep {timesteps.last_noise + 1} is one of "
                "them, where the target's α is 0 (zero terminal SNR) and its noise the state itself: choose at most "
                f"{(timesteps.count - 1) // 2}."
            )
        if sampling := self.sampling:
            sampling.check(timesteps)
        if self.inception and not self.inception.is_file():
            raise UserError(
                f"quality.inception={self.inception} is no file: set it to Inception's weights, or to null."
            )

    def check_space(self, space: InputSpace) -> None:
        """Compare with what the target is queried about; see `Sampling.check_space`."""
        if sampling := self.sampling:
            sampling.check_space(space)

    @property
    def sampling(self) -> Sampling | None:
        """The sampling of the target; None without samples."""
        return Sampling(self.samples, self.steps, self.seed, "quality") if self.samples else None

    def measure(
        self,
        target: PreparedTarget,
        target_timesteps: int,
        images: Images,
        is_member: NDArray[np.bool_],
        store: Store,
        runtime: Runtime,
    ) -> Measures:
        """Query the target, or reuse what the store has.

        Args:
            target: queried, and sampled.
            target_timesteps: T.
            images: n, of both sides.
            is_member: [n].
            store: where results are kept.
            runtime: the machine.

        Raises:
            UserError: for samples that are not finite, for too few images, and for weights
                that are no Inception network's.
        """
        measured = self._loss(target_timesteps).measure(target, images, store, runtime)
        refuse_non_finite_values("quality", measured, images, target, store, runtime)
        losses = measured.numbers["loss"]
        metrics: dict[str, float] = {}
        ci95: dict[str, Interval | None] = {}
        for name, side in (("denoising_loss", ~is_member), ("denoising_loss_members", is_member)):
            metrics[name], ci95[name] = mean_interval(losses[side])
        distances = self._distances(target, images, is_member, store, runtime) if self.samples else Measures({}, {})
        return Measures(metrics | distances.metrics, ci95 | distances.ci95)

    def _loss(self, target_timesteps: int) -> Attack:
        """The training's own loss, its timesteps drawn evenly rather than at random."""
        loss: Attack = Loss(name="loss", t=self._spread(target_timesteps), noises=self.noises, seed=self.seed)
        return loss

    def _spread(self, target_timesteps: int) -> list[int]:
        return [(2 * part + 1) * target_timesteps // (2 * self.timesteps) for part in range(self.timesteps)]

    def _distances(
        self, target: PreparedTarget, images: Images, is_member: NDArray[np.bool_], store: Store, runtime: Runtime
    ) -> Measures:
        assert self.sampling
        generated = self.sampling.draw(target, images, store, runtime)
        config: dict[str, Json] = {
            "blocks": self.blocks, "seed": self.seed, "is_member": np.packbits(is_member).tolist(),
            "inception": store.file_digest(self.inception) if self.inception else None, **outside_classes(quality=self),
        }  # fmt: skip
        inputs: dict[str, Input] = {"samples": generated.key, "images": images.digest}
        key = Key("quality", VERSION, config, inputs, files=("quality.json",))

        def build(workspace: Path) -> None:
            log.info("Comparing %d samples with %d hold-outs.", len(generated.pixels), (~is_member).sum())
            compared = {"": generated.pixels[:], "_members": images[np.flatnonzero(is_member)]}
            holdouts = images[np.flatnonzero(~is_member)]
            facts = self._compare(compared, holdouts, runtime).facts()
            write_json(workspace / "quality.json", as_strict_json(facts, lambda number: None))

        stored = json.loads((store.get_or_build(key, build).path / "quality.json").read_text(encoding="utf-8"))
        for name, value in stored["metrics"].items():
            if value is None or not math.isfinite(value):
                raise UserError(
                    f"The quality's {name} is not finite, though samples and images are: it takes other weights in "
                    "quality.inception, or more samples."
                )
        return Measures(stored["metrics"], {name: ends and tuple(ends) for name, ends in stored["ci95"].items()})

    def _compare(
        self, compared: dict[str, NDArray[np.uint8]], holdouts: NDArray[np.uint8], runtime: Runtime
    ) -> Measures:
        """Every set of images with the hold-outs; its key ends the names of its distances."""
        metrics: dict[str, float] = {}
        ci95: dict[str, Interval | None] = {}
        for end, images in compared.items():
            name = f"kernel_distance{end}"
            metrics[name], ci95[name] = kernel_distance(images, holdouts, self.blocks, self.seed)
        if self.inception:
            network = inception(self.inception)
            for end, images in compared.items():
                name = f"fid{end}"
                metrics[name], ci95[name] = inception_distance(images, holdouts, network, first_device(runtime)), None
        return Measures(metrics, ci95)
