"""The prompts that a text-to-image target is queried with, and their embeddings, computed once for each text."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from secmi_exp.data.images import Images
from secmi_exp.data.stored_rows import StoredRows
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.run_warnings import warn
from secmi_exp.store import Json, Key, Store
from secmi_exp.targets.loading.file_kind import refuse_strange_files
from secmi_exp.targets.loading.hub import found
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import Blip
from secmi_exp.targets.loading.model_folder import CONFIG, ModelFolder, content_digest
from secmi_exp.targets.loading.weight_files import network_files
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder

log = logging.getLogger(__name__)

PromptSource = Literal["caption", "none", "blip", "fixed"]
"""The images' own captions, empty prompts, captions that BLIP makes, or one text for all."""

CAPTIONING_VERSION = 1
"""Of how captions are made; raised when the same model would say something else."""


def blip_files(names: Collection[str]) -> list[str]:
    """Of the names of a repository's files those that are read of a BLIP model."""
    described = [name for name in names if "/" not in name and (name.endswith(".json") or name == "vocab.txt")]
    return sorted({*described, *network_files(names, "", "transformers", None, "the BLIP model")})


@dataclass(frozen=True)
class Prompts:
    """One text an image."""

    source: PromptSource
    texts: Sequence[str]
    """[n]."""
    missing: int
    """Images that have no caption, and the empty prompt in its place."""

    @cached_property
    def distinct(self) -> list[str]:
        """Each text once, in order of appearance."""
        return list(dict.fromkeys(self.texts))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the texts in order."""
        return hashlib.sha256(json.dumps(list(self.texts)).encode()).hexdigest()


def own_captions(images: Images) -> Prompts:
    """The images' captions; the empty prompt for those that have none, which the caller tells of.

    Raises:
        UserError: where no image has any.
    """
    captions = images.texts
    missing = sum(caption is None for caption in captions)
    if missing == len(captions):
        raise UserError(
            "None of the images has a caption: use a dataset that has, such as dataset=captioned, or set target.prompt "
            "to none, blip or fixed."
        )
    return Prompts("caption", [caption or "" for caption in captions], missing)


@dataclass(frozen=True)
class Captioner:
    """A BLIP model that puts images into words."""

    path: str
    """Folder, or repository of the hub."""

    @cached_property
    def folder(self) -> Path:
        """Where it lies.

        Raises:
            UserError: where it is not to be had, or something else.
        """
        folder = found(self.path, blip_files, "target.blip")
        refuse_strange_files(folder)
        content = ModelFolder(folder, "transformers").config
        kind = content.get("model_type")
        if kind != "blip":
            raise UserError(f"The model in {self.path} is a {kind}: set target.blip to a BLIP model for captions.")
        checked(Blip, content, folder / CONFIG)
        return folder

    def key(self, images: Images) -> Key:
        """Of the captions of these images."""
        files = sorted({*self.folder.glob("*.json"), *self.folder.glob("*.txt"), *self._model.weights})
        digests = {file.name: content_digest(file) for file in files}
        inputs = {**digests, "images": images.digest}
        return Key("captions", CAPTIONING_VERSION, {}, inputs, files=("captions.json",))

    @property
    def _model(self) -> ModelFolder:
        return ModelFolder(self.folder, "transformers")

    def captions(self, images: Images, store: Store, runtime: Runtime) -> Prompts:
        """From the store, or by asking the model."""

        def make(workspace: Path) -> None:
            from secmi_exp.targets.text_to_image.captioning import caption_images

            log.info("Captioning %d images with %s.", len(images), self.path)
            runtime.run_on_all_ranks(caption_images, workspace, self._model, images, runtime)

        entry = store.get_or_build(self.key(images), make).path
        return Prompts("blip", json.loads((entry / "captions.json").read_text(encoding="utf-8")), 0)


@dataclass(frozen=True)
class EncodedPrompts:
    """Names what the text encoders make of prompts, and makes it."""

    folder: TextToImageFolder
    prompts: Prompts
    runtime: Runtime

    @cached_property
    def key(self) -> Key:
        """Of the embeddings of each distinct text."""
        reading: Mapping[str, Json] = {
            "precision": self.runtime.encoder_precision,
            "texts": hashlib.sha256(json.dumps(self.prompts.distinct).encode()).hexdigest(),
        }
        key = self.folder.key("embeddings", *self.folder.text_parts, reading=reading)
        names = ("text", "pooled") if self.folder.kind == "StableDiffusionXLPipeline" else ("text",)
        arrays = [f"{sign}{name}.npy" for name in names for sign in ("", "negative_")]
        return replace(key, files=(*arrays, "truncated.json"))

    def condition(self, store: Store, *, guided: bool) -> dict[str, StoredRows]:
        """The embeddings of each image's prompt, as `TextConditioned` takes them.

        Args:
            store: where they are kept.
            guided: whether those of the empty prompt are needed too.
        """
        entry = self._entry(store)
        row = {text: number for number, text in enumerate(self.prompts.distinct)}
        rows = np.array([row[text] for text in self.prompts.texts])
        condition = {}
        for name in ("text", "pooled"):
            if (entry / f"{name}.npy").is_file():
                condition[name] = StoredRows(entry / f"{name}.npy", rows)
                if guided:
                    condition[f"negative_{name}"] = StoredRows(entry / f"negative_{name}.npy", np.zeros_like(rows))
        return condition

    def facts(self, store: Store) -> dict[str, Json]:
        """What a reader of the results has to know: how many prompts are what they should be."""
        beyond = json.loads((self._entry(store) / "truncated.json").read_text(encoding="utf-8"))
        cut = {self.prompts.distinct[number] for number in beyond}
        truncated = sum(text in cut for text in self.prompts.texts)
        if truncated:
            warn(
                "prompts_truncated",
                f"{truncated} of {len(self.prompts.texts)} images have a prompt of more tokens than the tokenizer's "
                f"limit, so that its end is cut off; the first: {self.prompts.distinct[beyond[0]]!r}.",
                count=truncated,
            )
        return {
            "source": self.prompts.source,
            "distinct": len(self.prompts.distinct),
            "missing": self.prompts.missing,
            "truncated": truncated,
        }

    def _entry(self, store: Store) -> Path:
        def encode(workspace: Path) -> None:
            from secmi_exp.targets.text_to_image.encoding import encode_prompts, note_truncated

            log.info("Encoding %d prompts.", len(self.prompts.distinct))
            note_truncated(workspace, self.folder, self.prompts.distinct)
            self.runtime.run_on_all_ranks(encode_prompts, workspace, self.folder, self.prompts.distinct, self.runtime)

        return store.get_or_build(self.key, encode).path
