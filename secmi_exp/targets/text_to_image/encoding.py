"""Encodes images as latents and prompts as embeddings, before a pipeline's denoiser is queried.

Autoencoder and text encoders are on the device only while they encode. They run in float32, or in float64 where the
queries do, whatever the precision of the queries: they run once, and some overflow in float16.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secmi_exp.data.images import Images
from secmi_exp.data.model_range import to_model_range
from secmi_exp.engine.collectives import is_rank_0
from secmi_exp.engine.rows import Prediction, Row, fill_rows
from secmi_exp.engine.runtime import Runtime
from secmi_exp.engine.trainers import encoder_dtype
from secmi_exp.errors import UserError
from secmi_exp.targets.loading.latent_folder import LatentFolder
from secmi_exp.targets.loading.settings_files import reason, root
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder

PROMPTS = 32
"""Size of a batch; there are few prompts, and they are little work."""

# These would log every prompt that is truncated; here they are counted.
for name in (
    "flux.pipeline_flux", "pixart_alpha.pipeline_pixart_alpha", "pixart_alpha.pipeline_pixart_sigma",
    "stable_diffusion.pipeline_stable_diffusion", "stable_diffusion_3.pipeline_stable_diffusion_3",
    "stable_diffusion_xl.pipeline_stable_diffusion_xl",
):  # fmt: skip
    logging.getLogger(f"diffusers.pipelines.{name}").setLevel(logging.ERROR)


def encode_batch(folder: LatentFolder, vae: Any, workspace: Path, images: Tensor) -> Iterator[tuple[Path, Tensor]]:
    """Encode uint8 images to mean and standard deviation of the autoencoder's posterior."""
    mean, std = folder.posterior(vae, to_model_range(images).to(vae.dtype))
    yield workspace / "mean.npy", mean
    yield workspace / "std.npy", std


def encode_images(workspace: Path, folder: LatentFolder, images: Images, runtime: Runtime) -> None:
    """Fill mean.npy and std.npy, both [n, C, h, w]; runs on every rank."""
    vae = folder.vae().to(encoder_dtype(runtime))
    _, height, width = images.shape
    unit = folder.pixels_per_latent
    row: Row = (
        (folder.autoencoder.encoded_channels, height // unit, width // unit),
        np.dtype(runtime.encoder_precision),
    )
    files = {workspace / "mean.npy": row, workspace / "std.npy": row}
    encoding = Prediction(partial(encode_batch, folder, vae, workspace), vae)
    fill_rows(encoding, (images,), files, [workspace], runtime, "auto", label="Encoding images")


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new tensors of this type: masks of transformers before 5 hold the least float64, whatever their own type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def embed_batch(
    folder: TextToImageFolder, pipeline: Any, prompts: Sequence[str], workspace: Path, numbers: Tensor
) -> Iterator[tuple[Path, Tensor]]:
    """Encode the prompts of these numbers to what the denoiser takes."""
    with default_dtype(pipeline.dtype):
        embeddings = folder.embed(pipeline, [prompts[number] for number in numbers.tolist()], numbers.device)
    for name, rows in embeddings.items():
        yield workspace / f"{name}.npy", rows


def encode_prompts(workspace: Path, folder: TextToImageFolder, prompts: Sequence[str], runtime: Runtime) -> None:
    """Fill a file for each of the family's embeddings, such as text.npy [P, L, D]; runs on every rank.

    Beside them lie those that guidance leads away from, such as negative_text.npy [1, L, D]: by the pipeline's own
    rules the empty prompt, or zeros.
    """
    pipeline = folder.pipeline()
    parts = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    encoders = torch.nn.ModuleDict(parts).to(encoder_dtype(runtime))
    with torch.inference_mode(), default_dtype(pipeline.dtype):
        try:
            one = folder.embed(pipeline, [""], negative=True)
        except Exception as error:  # whatever tokenizers and text encoders raise that don't fit together
            raise UserError(
                f"The text encoders in {folder.path} can't encode a prompt: {reason(root(error))}."
            ) from error
    dtype = np.dtype(runtime.encoder_precision)
    files: dict[Path, Row] = {}
    for name, rows in one.items():
        if not name.startswith("negative"):
            files[workspace / f"{name}.npy"] = tuple(rows.shape[1:]), dtype
        elif is_rank_0():
            np.save(workspace / f"{name}.npy", rows.numpy())
    embedding = Prediction(partial(embed_batch, folder, pipeline, prompts, workspace), encoders)
    fill_rows(embedding, (np.arange(len(prompts)),), files, [workspace], runtime, PROMPTS, label="Encoding prompts")


def write_truncated(workspace: Path, folder: TextToImageFolder, prompts: Sequence[str]) -> None:
    """Write the numbers of the prompts that are beyond the tokenizer's limit into truncated.json."""
    tokenizer = folder.tokenizer(folder.longest_tokenizer)
    lengths = tokenizer(list(prompts), padding=False, truncation=False)["input_ids"]
    limit = tokenizer.model_max_length
    truncated = [number for number, ids in enumerate(lengths) if len(ids) > limit]
    (workspace / "truncated.json").write_text(json.dumps(truncated), encoding="utf-8")
