"""What a text-to-image pipeline makes of images and prompts before its U-Net is queried.

Autoencoder and text encoders live on the device only while they encode. They run in float32, or in float64 where the
queries do, whatever the precision of the queries: they run once, and some overflow in float16.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from secmi_exp.data.images import Images, to_model_range
from secmi_exp.engine import ranks
from secmi_exp.engine.rows import Computed, Row, fill_rows
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.targets.loading.weights import reason, root
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder

PROMPTS = 32
"""A batch; they are few, and little work."""

# It would print every prompt that is cut off; here they are counted.
for name in ("stable_diffusion.pipeline_stable_diffusion", "stable_diffusion_xl.pipeline_stable_diffusion_xl"):
    logging.getLogger(f"diffusers.pipelines.{name}").setLevel(logging.ERROR)


class ImageEncoder(pl.LightningModule):
    """Uint8 images to mean and standard deviation of the autoencoder's posterior."""

    def __init__(self, vae: Any, workspace: Path):
        super().__init__()
        self.vae, self.workspace = vae, workspace

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> Computed:
        """One batch."""
        posterior = self.vae.encode(to_model_range(batch[0]).to(self.vae.dtype)).latent_dist
        return Computed({self.workspace / "mean.npy": posterior.mean, self.workspace / "std.npy": posterior.std})


def encode_images(
    workspace: Path, folder: TextToImageFolder, images: Images, runtime: Runtime, *, logger: None
) -> None:
    """Fill mean.npy and std.npy, both [n, C, h, w]; runs on every rank."""
    vae = folder.vae().to(runtime.encoder_dtype)
    _, height, width = images.shape
    unit = folder.pixels_a_latent
    row: Row = ((vae.config.latent_channels, height // unit, width // unit), np.dtype(runtime.encoder_precision))
    files = {workspace / "mean.npy": row, workspace / "std.npy": row}
    fill_rows(ImageEncoder(vae, workspace), (images,), files, [workspace], runtime, "auto")


class PromptEncoder(pl.LightningModule):
    """Numbers of prompts to what the U-Net takes of them."""

    def __init__(self, pipeline: Any, prompts: Sequence[str], workspace: Path):
        super().__init__()
        self.pipeline, self.prompts, self.workspace = pipeline, prompts, workspace
        self.encoders = torch.nn.ModuleDict(
            {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
        )

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> Computed:
        """One batch."""
        embeddings = self.embed([self.prompts[number] for number in batch[0].tolist()])
        return Computed({self.workspace / f"{name}.npy": rows for name, rows in embeddings.items()})

    def embed(self, prompts: list[str], *, negative: bool = False) -> dict[str, Tensor]:
        """``text`` [B, L, D], and for SDXL ``pooled`` [B, D₂]; with those of the empty prompt too, as ``negative_``."""
        encoded = self.pipeline.encode_prompt(
            prompts, device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=negative
        )
        named = zip(("text", "negative_text", "pooled", "negative_pooled"), encoded, strict=False)
        return {name: embedding for name, embedding in named if embedding is not None}


def encode_prompts(
    workspace: Path, folder: TextToImageFolder, prompts: Sequence[str], runtime: Runtime, *, logger: None
) -> None:
    """Fill text.npy [P, L, D] and, for SDXL, pooled.npy [P, D₂]; runs on every rank.

    Beside them lie negative_text.npy [1, L, D] and negative_pooled.npy [1, D₂], which guidance leads away from: by the
    pipeline's own rules the empty prompt, or zeros.
    """
    module = PromptEncoder(folder.pipeline(), prompts, workspace)
    module.encoders.to(runtime.encoder_dtype)
    with torch.inference_mode():
        try:
            one = module.embed([""], negative=True)
        except Exception as error:  # whatever tokenizers and text encoders raise that don't fit together
            raise UserError(
                f"The text encoders in {folder.path} can't encode a prompt: {reason(root(error))}."
            ) from error
    dtype = np.dtype(runtime.encoder_precision)
    files: dict[Path, Row] = {}
    for name, rows in one.items():
        if not name.startswith("negative"):
            files[workspace / f"{name}.npy"] = tuple(rows.shape[1:]), dtype
        elif rank_info().rank == 0:
            np.save(workspace / f"{name}.npy", rows.numpy())
    fill_rows(module, (np.arange(len(prompts)),), files, [workspace], runtime, PROMPTS)


def note_truncated(workspace: Path, folder: TextToImageFolder, prompts: Sequence[str]) -> None:
    """Leave in truncated.json the numbers of the prompts that are beyond the tokenizer's limit."""
    tokenizer = folder.tokenizer()
    lengths = tokenizer(list(prompts), padding=False, truncation=False)["input_ids"]
    limit = tokenizer.model_max_length
    truncated = [number for number, ids in enumerate(lengths) if len(ids) > limit]
    (workspace / "truncated.json").write_text(json.dumps(truncated), encoding="utf-8")
