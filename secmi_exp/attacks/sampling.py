"""Drawing samples of a target, as rows that are filled batch by batch.

Source: Song et al., "Denoising Diffusion Implicit Models" (ICLR 2021), equation 12 with σ = 0.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from secmi_exp import ranks
from secmi_exp.attacks.generated import InitialNoise
from secmi_exp.compiling import CompileWhenItRepays
from secmi_exp.diffusion.ddim import ddim_step
from secmi_exp.errors import UserError
from secmi_exp.row_journal import queries_of_rows
from secmi_exp.rows import Computed, fill_rows
from secmi_exp.runtime import Runtime
from secmi_exp.store import write_json
from secmi_exp.targets.noise_predictor import NoisePredictor


def draw_samples(
    workspace: Path, noise: InitialNoise, steps: int, load: Callable[[], NoisePredictor], runtime: Runtime,
    *, logger: None,
) -> int:  # fmt: skip
    """Fill samples.npy [M, C, H, W]; runs on every rank. Returns the queries that all ranks together have made."""
    predictor = load().to(runtime.query_dtype)
    module = Sampling(predictor, steps, workspace)
    files = {workspace / "samples.npy": (noise.image, np.dtype(np.uint8))}
    compiled = CompileWhenItRepays(runtime.compile, predictor.network)
    fill_rows(module, [noise], files, [workspace], runtime, runtime.query_batch_size, [compiled])
    spent = ranks.total(predictor.queries)
    if ranks.current().rank == 0:
        write_json(workspace / "queries.json", {"queries": int(queries_of_rows(workspace, len(noise)).sum())})
    return spent


class Sampling(pl.LightningModule):
    """One batch of x_T to uint8 images."""

    def __init__(self, predictor: NoisePredictor, steps: int, workspace: Path):
        super().__init__()
        self.predictor, self.steps, self.workspace = predictor, steps, workspace

    def on_predict_start(self) -> None:
        """The layout that CUDA's convolutions are fastest in."""
        if self.device.type == "cuda":
            self.predictor.to(memory_format=torch.channels_last)

    def predict_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Computed:
        """Sample."""
        made = self.predictor.queries
        pixels = to_pixels(self.predictor, sample(self.predictor, batch[0], self.steps))
        queries = (self.predictor.queries - made) // len(pixels)
        return Computed({self.workspace / "samples.npy": pixels}, {self.workspace: queries})


@torch.inference_mode()
def sample(predictor: NoisePredictor, x_T: Tensor, steps: int) -> Tensor:
    """x_0 by deterministic DDIM from T − 1 down to the noiseless end, where ᾱ is 1. [B, C, H, W].

    The prediction of x_0 within a step is not clipped.

    Args:
        predictor: an unconditional target; costs ``steps`` queries a sample.
        x_T: standard normal noise, [B, C, H, W].
        steps: at most T.
    """
    alphas = predictor.alphas_cumprod
    descent = descending_timesteps(len(alphas), steps)
    x = x_T.to(levels(predictor, x_T)[0])
    for t, s in zip(descent, [*descent[1:], None], strict=True):
        x = ddim_step(x, predictor.predict_noise(x, t), alphas[t], 1.0 if s is None else alphas[s])
    return x


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
        x_0: [B, C, H, W].

    Raises:
        UserError: for samples that are not finite.
    """
    if not bool(x_0.isfinite().all()):
        raise UserError(
            "The target's samples are not finite: raise trainer.query_precision or attack.steps, and look whether its "
            "training has diverged."
        )
    black, white = levels(predictor, x_0)
    return ((x_0 - black) / (white - black) * 255).round().clamp(0, 255).to(torch.uint8)
