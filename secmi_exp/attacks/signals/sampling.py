"""Draws the images of `samples` from a target by deterministic DDIM.

Source: Song et al., "Denoising Diffusion Implicit Models" (ICLR 2021), equation 12 with σ = 0.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from secmi_exp.attacks.finite_values import overflow
from secmi_exp.attacks.signals.initial_noise import InitialNoise
from secmi_exp.deferred import Deferred
from secmi_exp.diffusion.noise_predictor import NoisePredictor
from secmi_exp.engine.runtime import Precision, Runtime
from secmi_exp.errors import UserError

query_dtype = Deferred("secmi_exp.engine.trainers:query_dtype")
query_rows = Deferred("secmi_exp.engine.queries:query_rows")


def draw_samples(
    workspace: Path,
    noise: InitialNoise,
    steps: int,
    load: Callable[[], NoisePredictor],
    query_file: Path,
    runtime: Runtime,
) -> int:
    """Fill samples.npy [M, C, H, W]; called on every rank. Returns the queries of all samples, on rank 0."""
    predictor = load().to(query_dtype(runtime.query_precision))
    file = workspace / "samples.npy"
    queries = query_rows(
        [predictor],
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
    path = predictor.path
    descent = descending_timesteps(len(path), steps)
    x = path.initial(x_T.to(levels(predictor, x_T)[0]))
    for t, s in zip(descent, [*descent[1:], None], strict=True):
        if path.alphas[t] == 0.0:
            image, eps = predictor.predict_image(x, t), x
        else:
            eps = predictor.predict_noise(x, t)
            image = path.denoise(x, eps, t)
        x = image if s is None else path.add_noise(image, eps, s)
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
