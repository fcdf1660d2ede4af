"""Images that the target generates, which attacks from the time of GANs and VAEs compare the attacked images with.

The target is sampled by deterministic DDIM, once for all attacks that ask for the same number of samples, steps and
seed. No image that is attacked plays a part in it.

Source: Song et al., "Denoising Diffusion Implicit Models" (ICLR 2021), equation 12 with σ = 0.
"""

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass as plain_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.finite_values import overflow
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.data.images import Images
from secmi_exp.data.stored_rows import RowArray, StoredRows
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.ddim import ddim_step, noised
from secmi_exp.diffusion.noise_predictor import NoisePredictor
from secmi_exp.diffusion.timesteps import Timesteps
from secmi_exp.engine.runtime import Precision, Runtime
from secmi_exp.errors import UserError
from secmi_exp.store import Json, Key, Store, write_json
from secmi_exp.targets.interface import PixelInputs, PreparedTarget

query_dtype = Deferred("secmi_exp.engine.trainers:query_dtype")
query_rows = Deferred("secmi_exp.engine.queries:query_rows")

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
    """Steps of DDIM for each of them, one query each."""
    seed: int
    """Seed of x_T."""
    group: str
    """Config group of the settings, for messages."""

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
                f"{self.group}.samples={self.samples} asks for samples of the target, which can't be sampled from "
                f"timestep {timesteps.count - 1}: ᾱ is 0 there (zero terminal SNR), and the noise that it predicts "
                "tells no image; choose an attack that asks about the images themselves, such as attack=stat, and "
                "quality.samples=null."
            )

    def draw(self, target: PreparedTarget, images: Images, store: Store, runtime: Runtime) -> Samples:
        """Draw samples of the target, or find them in the store.

        Args:
            target: to be sampled.
            images: that the samples are compared with, for their shape.
            store: where the samples are kept.
            runtime: the machine.

        Raises:
            UserError: for latent targets, and where the samples are not finite.
        """
        if not isinstance(target.inputs(images, store, runtime), PixelInputs):
            raise UserError(
                f"{self.group}.samples={self.samples} asks for samples of the target, and decoding samples isn't "
                "offered for text-to-image targets: choose an attack that asks about the images themselves, such as "
                "attack=stat, and quality.samples=null."
            )
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


def draw_samples(
    workspace: Path,
    noise: InitialNoise,
    steps: int,
    load: Callable[[], NoisePredictor],
    query_file: Path,
    runtime: Runtime,
) -> int:
    """Fill samples.npy [M, C, H, W]; called on every rank. Returns the queries of all samples, on rank 0."""
    predictor = load().to(query_dtype(runtime))
    file = workspace / "samples.npy"
    queries = query_rows(
        predictor,
        partial(sample_batch, predictor, steps, runtime.query_precision, file),
        [noise],
        {file: (noise.image, np.dtype(np.uint8))},
        [workspace],
        query_file,
        runtime,
        label="Sampling",
    )
    return int(queries[workspace].sum()) if queries else 0


def sample_batch(
    predictor: NoisePredictor, steps: int, precision: Precision, file: Path, x_T: Tensor
) -> Iterator[tuple[Path, Tensor]]:
    """Sample uint8 images from x_T [B, C, H, W].

    Raises:
        UserError: where they are not finite.
    """
    x_0 = sample(predictor, x_T, steps)
    if not bool(x_0.isfinite().all()):  # before they are rounded to pixels, which would hide it
        raise diverged(predictor, x_T, steps, precision)
    yield file, to_pixels(predictor, x_0)


@torch.inference_mode()
def sample(predictor: NoisePredictor, x_T: Tensor, steps: int) -> Tensor:
    """x_0 by deterministic DDIM from T − 1 down to the noiseless end, where ᾱ is 1. [B, C, H, W].

    The prediction of x_0 within a step is not clipped.

    Args:
        predictor: an unconditional target; costs ``steps`` queries a sample.
        x_T: standard normal noise, [B, C, H, W].
        steps: at most T.
    """
    ((_, x_0),) = deque(descend(predictor, x_T, steps), maxlen=1)
    return x_0


def descend(predictor: NoisePredictor, x_T: Tensor, steps: int) -> Iterator[tuple[int, Tensor]]:
    """The steps of `sample`: each timestep that one starts at, and the states [B, C, H, W] that it leads to.

    Where ᾱ is 0 the state is the noise, and x̂_0 is predicted instead; see `Timesteps.last_image`.
    """
    alphas = predictor.alphas_cumprod
    descent = descending_timesteps(len(alphas), steps)
    x = x_T.to(levels(predictor, x_T)[0])
    for t, s in zip(descent, [*descent[1:], None], strict=True):
        alpha_bar_to = 1.0 if s is None else alphas[s]
        if alphas[t] == 0.0:
            x = noised(predictor.predict_image(x, t), x, alpha_bar_to)
        else:
            x = ddim_step(x, predictor.predict_noise(x, t), alphas[t], alpha_bar_to)
        yield t, x


@torch.inference_mode()
def diverged(predictor: NoisePredictor, x_T: Tensor, steps: int, precision: Precision) -> UserError:
    """The sentence for samples that are not finite, with the timestep that they begin at, which is found once more."""
    for t, x in descend(predictor, x_T, steps):
        bad = ~x.isfinite().flatten(1).all(dim=1)
        if bool(bad.any()):
            return UserError(
                f"The target's samples are not finite for {int(bad.sum())} of a batch of {len(bad)}, from the step at "
                f"timestep {t} on: {overflow(precision)}."
            )
    return UserError(f"The target's samples are not finite, and not in every computation: {overflow(precision)}.")


def descending_timesteps(T: int, steps: int) -> list[int]:
    """From T − 1 down in equal steps, the last of which leads to the image; diffusers' ``trailing`` spacing.

    >>> descending_timesteps(1000, 4)
    [999, 749, 499, 249]
    """
    return [round(T - i * T / steps) - 1 for i in range(steps)]


def levels(predictor: NoisePredictor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Black and white as the target's inputs have them, each [C, H, W]."""
    values = torch.tensor([0, 255], dtype=torch.uint8, device=like.device).reshape(2, 1, 1, 1)
    black, white = predictor.encode(values.expand(2, *like.shape[1:]))
    return black, white


def to_pixels(predictor: NoisePredictor, x_0: Tensor) -> Tensor:
    """The uint8 images that are encoded as x_0, to the nearest level: the inverse of `encode`, which is linear there.

    Args:
        predictor: a target in pixel space.
        x_0: finite, [B, C, H, W].
    """
    black, white = levels(predictor, x_0)
    return ((x_0 - black) / (white - black) * 255).round().clamp(0, 255).to(torch.uint8)
