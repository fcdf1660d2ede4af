"""Captions by a BLIP model, as the paper makes them for images whose prompt isn't known.

Source: Li et al., "BLIP: Bootstrapping Language-Image Pre-training" (ICML 2022).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from transformers import BlipForConditionalGeneration, BlipProcessor

from secmi_exp.data.images import Images
from secmi_exp.engine import ranks
from secmi_exp.engine.rows import Computed, fill_rows
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.store import SCRATCH
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import BlipProcessing
from secmi_exp.targets.loading.model_folder import ModelFolder
from secmi_exp.targets.loading.weights import read_json, reason

IMAGES = 16
"""A batch."""

TOKENS = 32
"""That a caption has at most, beside those that begin and end it; BLIP's captions have about ten."""


class Captioning(pl.LightningModule):
    """Uint8 images to the tokens of their captions, chosen greedily; [B, TOKENS + 2], padded."""

    def __init__(self, model: Any, processor: Any, file: Path):
        super().__init__()
        self.model, self.processor, self.file = model, processor, file

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> Computed:
        """One batch."""
        return Computed({self.file: self.tokens(batch[0])})

    def tokens(self, batch: Tensor) -> Tensor:
        """Of the captions of uint8 images [B, C, H, W]."""
        images = batch.expand(-1, 3, -1, -1)  # gray ones too
        pixels = self.processor.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        ids = self.model.generate(
            pixel_values=pixels.to(self.device, self.model.dtype), max_new_tokens=TOKENS, num_beams=1, do_sample=False
        )
        padding, value = (0, TOKENS + 2 - ids.shape[1]), self.processor.tokenizer.pad_token_id
        return torch.nn.functional.pad(ids, padding, value=value)


def caption_images(workspace: Path, folder: ModelFolder, images: Images, runtime: Runtime, *, logger: None) -> None:
    """Leave captions.json, a list of n texts; runs on every rank.

    Raises:
        UserError: for a model whose files can't be read, or don't fit.
    """
    model = folder.load(BlipForConditionalGeneration)
    file = workspace / SCRATCH / "tokens.npy"
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (described := folder.path / name).is_file():
            checked(BlipProcessing, read_json(described), described)
    try:
        processor: Any = BlipProcessor.from_pretrained(folder.path, local_files_only=True)
        captioning = Captioning(model, processor, file)
        with torch.inference_mode():
            captioning.tokens(torch.from_numpy(images[:1]))  # so that what doesn't fit is told now
    except Exception as error:  # whatever the processor's files make it raise
        raise UserError(
            f"The processor of the BLIP model in {folder.path} can't be read, or doesn't fit it ({reason(error)})."
        ) from error
    row = (TOKENS + 2,), np.dtype(np.int64)
    fill_rows(captioning, (images,), {file: row}, [workspace], runtime, IMAGES)
    if rank_info().rank == 0:
        captions = processor.batch_decode(np.load(file), skip_special_tokens=True)
        texts = [caption.strip() for caption in captions]
        (workspace / "captions.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
