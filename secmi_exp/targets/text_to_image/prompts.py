"""Prompts of a text-to-image target, and their embeddings, computed once for each text."""

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
from secmi_exp.deferred import Deferred
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import warn
from secmi_exp.store import Key, Store
from secmi_exp.targets.loading.file_kind import refuse_strange_files
from secmi_exp.targets.loading.hub import fetch
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import Blip
from secmi_exp.targets.loading.model_folder import CONFIG, ModelFolder, content_digest
from secmi_exp.targets.loading.weight_files import network_files
from secmi_exp.targets.text_to_image.pipeline_folder import TextToImageFolder

caption_images = Deferred("secmi_exp.targets.text_to_image.captioning:caption_images")
encode_prompts = Deferred("secmi_exp.targets.text_to_image.encoding:encode_prompts")
write_truncated = Deferred("secmi_exp.targets.text_to_image.encoding:write_truncated")

log = logging.getLogger(__name__)

PromptSource = Literal["caption", "none", "blip", "fixed"]
"""The images' own captions, empty prompts, captions that BLIP makes, or one text for all."""

CAPTIONING_VERSION = 1
"""Version of the captioning; raised when the same model would give other captions."""


def blip_files(names: Collection[str]) -> list[str]:
    """Select the files that are read of a BLIP model, among those of a repository."""
    described = [name for name in names if "/" not in name and (name.endswith(".json") or name == "vocab.txt")]
    return sorted({*described, *network_files(names, "", "transformers", None, "the BLIP model")})


@dataclass(frozen=True)
class Prompts:
    """One text for each image."""

    source: PromptSource
    texts: Sequence[str]
    """[n]."""
    missing: int
    """Number of images without a caption, which have the empty prompt instead."""

    @cached_property
    def distinct(self) -> list[str]:
        """Each text once, in order of appearance."""
        return list(dict.fromkeys(self.texts))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the texts in order."""
        return hashlib.sha256(json.dumps(list(self.texts)).encode()).hexdigest()


def own_captions(images: Images) -> Prompts:
    """Return the images' captions, and the empty prompt for those without one; the caller warns of these.

    Raises:
        UserError: where no image has a caption.
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
    """A BLIP model, which writes captions."""

    path: str
    """Folder, or repository of the hub."""

    @cached_property
    def folder(self) -> Path:
        """Folder of the model.

        Raises:
            UserError: where it can't be fetched, or is no BLIP model.
        """
        folder = fetch(self.path, blip_files, "target.blip")
        refuse_strange_files(folder)
        content = ModelFolder(folder, "transformers").config
        kind = content.get("model_type")
        if kind != "blip":
            raise UserError(f"The model in {self.path} is a {kind}: set target.blip to a BLIP model for captions.")
        checked(Blip, content, folder / CONFIG)
        return folder

    def key(self, images: Images, store: Store) -> Key:
        """Return the key of the captions of these images; the store gives the digests of files."""
        files = sorted({*self.folder.glob("*.json"), *self.folder.glob("*.txt"), *self._model.weights})
        digests = {file.name: content_digest(file, store.file_digest) for file in files}
        inputs = {**digests, "images": images.digest}
        return Key("captions", CAPTIONING_VERSION, {}, inputs, files=("captions.json",))

    @property
    def _model(self) -> ModelFolder:
        return ModelFolder(self.folder, "transformers")

    def captions(self, images: Images, store: Store, runtime: Runtime) -> Prompts:
        """Find the captions in the store, or make them."""

        def make(workspace: Path) -> None:
            log.info("Captioning %d images with %s.", len(images), self.path)
            runtime.run_on_all_ranks(caption_images, workspace, self._model, images, runtime)

        entry = store.get_or_build(self.key(images, store), make).path
        return Prompts("blip", json.loads((entry / "captions.json").read_text(encoding="utf-8")), 0)


@dataclass(frozen=True)
class EncodedPrompts:
    """The embeddings of prompts, in the store or to be computed."""

    folder: TextToImageFolder
    prompts: Prompts
    store: Store
    runtime: Runtime

    @cached_property
    def key(self) -> Key:
        """Key of the embeddings of each distinct text."""
        reading: Mapping[str, Json] = {
            "precision": self.runtime.encoder_precision,
            "texts": hashlib.sha256(json.dumps(self.prompts.distinct).encode()).hexdigest(),
            **self.folder.embedding_settings,
        }
        key = self.folder.key("embeddings", *self.folder.text_parts, reading=reading, digest=self.store.file_digest)
        arrays = [f"{sign}{name}.npy" for name in self.folder.embeddings for sign in ("", "negative_")]
        return replace(key, files=(*arrays, "truncated.json"))

    def condition(self, *, guided: bool) -> dict[str, StoredRows]:
        """Return the embeddings of each image's prompt, as `LatentPredictor` takes them.

        Args:
            guided: whether embeddings of the empty prompt are needed too.
        """
        entry = self._entry()
        row = {text: number for number, text in enumerate(self.prompts.distinct)}
        rows = np.array([row[text] for text in self.prompts.texts])
        condition = {}
        for name in self.folder.embeddings:
            condition[name] = StoredRows(entry / f"{name}.npy", rows)
            if guided:
                condition[f"negative_{name}"] = StoredRows(entry / f"negative_{name}.npy", np.zeros_like(rows))
        return condition

    def facts(self) -> dict[str, Json]:
        """Count the prompts that are missing or truncated, for readers of the results."""
        beyond = json.loads((self._entry() / "truncated.json").read_text(encoding="utf-8"))
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

    def _entry(self) -> Path:
        def encode(workspace: Path) -> None:
            log.info("Encoding %d prompts.", len(self.prompts.distinct))
            write_truncated(workspace, self.folder, self.prompts.distinct)
            self.runtime.run_on_all_ranks(encode_prompts, workspace, self.folder, self.prompts.distinct, self.runtime)

        return self.store.get_or_build(self.key, encode).path
