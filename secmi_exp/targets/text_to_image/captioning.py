"""Captions by a BLIP model, as the paper makes them for images whose prompt is unknown.

Source: Li et al., "BLIP: Bootstrapping Language-Image Pre-training" (ICML 2022).
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BlipProcessor

from secmi_exp.data.images import Images
from secmi_exp.engine.collectives import is_rank_0
from secmi_exp.engine.rows import Prediction, fill_rows
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.store import SCRATCH
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import BlipProcessing
from secmi_exp.targets.loading.model_folder import ModelFolder
from secmi_exp.targets.loading.settings_files import read_json, reason

IMAGES = 16
"""Size of a batch."""

TOKENS = 32
"""Upper bound of a caption's tokens, without its two ends; BLIP's captions have about ten."""


def caption_tokens(model: Any, processor: Any, images: Tensor) -> Tensor:
    """Caption uint8 images [B, C, H, W]: tokens, chosen greedily and padded, [B, TOKENS + 2]."""
    rgb = images.expand(-1, 3, -1, -1)  # gray ones too
    pixels = processor.image_processor(images=list(rgb), return_tensors="pt")["pixel_values"]
    ids = model.generate(
        pixel_values=pixels.to(model.device, model.dtype), max_new_tokens=TOKENS, num_beams=1, do_sample=False
    )
    padding, value = (0, TOKENS + 2 - ids.shape[1]), processor.tokenizer.pad_token_id
    return torch.nn.functional.pad(ids, padding, value=value)


def caption_batch(model: Any, processor: Any, file: Path, images: Tensor) -> Iterator[tuple[Path, Tensor]]:
    """Caption one batch."""
    yield file, caption_tokens(model, processor, images)


def caption_images(workspace: Path, folder: ModelFolder, images: Images, runtime: Runtime) -> None:
    """Write captions.json, a list of n texts; called on every rank.

    Raises:
        UserError: for a model whose files can't be read, or don't fit.
    """
    model = folder.load("BlipForConditionalGeneration")
    file = workspace / SCRATCH / "tokens.npy"
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (described := folder.path / name).is_file():
            checked(BlipProcessing, read_json(described), described)
    try:
        processor: Any = BlipProcessor.from_pretrained(folder.path, local_files_only=True)
        with torch.inference_mode():
            caption_tokens(model, processor, torch.from_numpy(images[:1]))  # so that what doesn't fit fails now
    except Exception as error:  # whatever the processor's files make it raise
        raise UserError(
            f"The processor of the BLIP model in {folder.path} can't be read, or doesn't fit it ({reason(error)})."
        ) from error
    row = (TOKENS + 2,), np.dtype(np.int64)
    captioning = Prediction(partial(caption_batch, model, processor, file), model)
    fill_rows(captioning, (images,), {file: row}, [workspace], runtime, IMAGES, label="Captioning")
    if is_rank_0():
        captions = processor.batch_decode(np.load(file), skip_special_tokens=True)
        texts = [caption.strip() for caption in captions]
        (workspace / "captions.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
