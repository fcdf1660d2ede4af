"""Stable Diffusion in one file: what it is, what completes it, and its conversion into a pipeline.

Descriptions, tokenizers and schedule, which are in no such file, are taken from a pipeline in diffusers' layout, whose
weights are not read.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.regular import is_regular
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import warn
from secmi_exp.store import Key, Store
from secmi_exp.targets.families.stable_diffusion import StableDiffusionFolder
from secmi_exp.targets.loading.file_kind import SINGLE_FILE, file_kind
from secmi_exp.targets.loading.hub import fetch
from secmi_exp.targets.loading.latent_folder import SCHEDULER_CONFIG, has_weights
from secmi_exp.targets.loading.model_folder import CONFIG, content_digest
from secmi_exp.targets.loading.settings_files import reason
from secmi_exp.targets.loading.tensor_headers import TensorHeader, tensor_headers
from secmi_exp.targets.loading.training_folder import PIPELINE_CONFIG, WeightsChoice
from secmi_exp.targets.text_to_image.one_file_format import (
    AVERAGE,
    FAMILIES,
    FIRST_LAYER,
    PREDICTS_V,
    Family,
    averaged_name,
)
from secmi_exp.targets.text_to_image.pipeline_folder import kept_files

convert = Deferred("secmi_exp.targets.text_to_image.one_file_conversion:convert")

VERSION = 1
"""Version of the conversion; raised when the same file would give other weights."""


@dataclass(frozen=True)
class OneFile:
    """A file with all weights of a pipeline, and where the rest comes from."""

    path: Path
    config: str | None
    """Folder or repository with the descriptions; None: the family's."""
    weights: WeightsChoice

    @classmethod
    def at(cls, path: Path, config: str | None, weights: WeightsChoice) -> "OneFile | None":
        """Return the file at a path; None where there is no such file, or it is of another kind."""
        return cls(path, config, weights) if path.is_file() and file_kind(path) == SINGLE_FILE else None

    @cached_property
    def _headers(self) -> dict[str, TensorHeader]:
        return tensor_headers(self.path)

    @cached_property
    def family(self) -> Family:
        """The version of Stable Diffusion.

        Raises:
            UserError: for a model of another kind, and a file without text encoders.
        """
        channels = self._headers[FIRST_LAYER].shape[1:2] if FIRST_LAYER in self._headers else ()
        if channels != (4,):
            takes = f"takes {channels[0]} channels in place of 4" if channels else f"has no convolution {FIRST_LAYER}"
            raise UserError(
                f"The U-Net in {self.path} {takes}: it is no Stable Diffusion 1.x, 2.x or XL for generating images "
                "from text, and can't be attacked."
            )
        for family in FAMILIES:
            if all(any(name.startswith(each) for name in self._headers) for each in family.text_encoders.values()):
                return family
        raise UserError(
            f"{self.path} holds a U-Net without the text encoders of Stable Diffusion 1.x, 2.x or XL: take the "
            "checkpoint with all parts."
        )

    @cached_property
    def averaged(self) -> bool:
        """Whether the averaged weights are read.

        Raises:
            UserError: where they were chosen and aren't there.
        """
        there = any(name.startswith(f"{AVERAGE}diffusion_model") for name in self._headers)
        if self.weights == "ema" and not there:
            raise UserError(
                f"{self.path} holds no averaged weights ({AVERAGE}…), which target.weights=ema needs: set "
                "target.weights=auto for those that are there."
            )
        return there and self.weights != "net"

    @cached_property
    def described(self) -> StableDiffusionFolder:
        """The pipeline with descriptions, tokenizers and schedule; its weights are never read.

        Raises:
            UserError: where it can't be fetched, is of another kind, or contradicts the file.
        """
        family, setting = self.family, "target.config"
        if self.config is None:
            try:
                folder = fetch(family.repository, self._described_files, setting)
            except UserError as error:
                raise UserError(
                    f"{self.path} is a checkpoint of {family.name}, whose configuration and tokenizer would come from "
                    f"{family.repository} on the hub ({reason(error)}): set {setting} to the folder of a pipeline of "
                    "this kind in diffusers' layout, of which no weights are needed."
                ) from error
        else:
            folder = fetch(self.config, self._described_files, setting)
        described = StableDiffusionFolder.from_path(folder)
        if described.kind != family.pipeline:
            raise UserError(
                f"{setting}={self.config} is a {described.kind}, and {self.path} is a checkpoint of {family.name}: set "
                f"{setting} to a {family.pipeline}."
            )
        if PREDICTS_V in self._headers and described.diffusion_path.prediction != "v_prediction":
            raise UserError(
                f"{self.path} says that it predicts v, and the scheduler in {described.path} has prediction_type="
                f"{described.diffusion_path.prediction}: set {setting} to a pipeline with prediction_type=v_prediction."
            )
        return described

    def _described_files(self, names: Collection[str]) -> list[str]:
        """Select the files that are read among those of a repository: JSON and texts alone."""
        parts = (*self.family.text_encoders, "unet", "vae")
        wanted = {PIPELINE_CONFIG, SCHEDULER_CONFIG, *(f"{part}/{CONFIG}" for part in parts)}
        return sorted(
            name
            for name in names
            if name in wanted or (name.startswith(("tokenizer/", "tokenizer_2/")) and name.endswith((".json", ".txt")))
        )

    def warn_of_assumptions(self) -> None:
        """Warn of what the file doesn't say, and of weights that were rounded or chosen without the user's word."""
        schedule = self.described.diffusion_path
        if self.config is None:
            warn(
                "configuration_assumed",
                f"{self.path} is a checkpoint of {self.family.name}, which says neither what its network predicts nor "
                f"its schedule: prediction_type={schedule.prediction} and all settings of {self.family.repository} are "
                "assumed; if it was trained with others, its t-errors are wrong, and target.config has to name a "
                "pipeline with them.",
            )
        if self.averaged and self.weights == "auto":
            warn(
                "weights_chosen",
                f"{self.path} holds averaged weights and the last ones, of which the averaged ones are attacked: set "
                "target.weights=ema or net for those that are meant.",
            )
        name = averaged_name(FIRST_LAYER) if self.averaged else FIRST_LAYER
        dtype = self._headers[name].dtype if name in self._headers else "float32"
        if dtype in ("float16", "bfloat16"):
            warn(
                "weights_rounded",
                f"The U-Net's weights in {self.path} are rounded to {dtype}, which gives other t-errors than the "
                "trained ones.",
            )

    def key(self, store: Store) -> Key:
        """Return the key of the converted pipeline; the store gives the digests of files."""
        folder = self.described
        descriptions = [folder.path / PIPELINE_CONFIG, folder.path / SCHEDULER_CONFIG]
        for part in folder.parts:
            if has_weights(part):
                descriptions.append(folder.model(part).path / CONFIG)
            else:
                descriptions += sorted(file for file in (folder.path / part).iterdir() if is_regular(file))
        digests = {
            file.relative_to(folder.path).as_posix(): content_digest(file, store.file_digest) for file in descriptions
        }
        config: dict[str, Json] = {"one_file": folder.kind, "weights": self._chosen}
        inputs = {"checkpoint": store.file_digest(self.path), **digests}
        return Key("target", VERSION, config, inputs, kept_files(folder.parts))

    @property
    def _chosen(self) -> Literal["ema", "net"]:
        return "ema" if self.averaged else "net"

    def converted(self, store: Store) -> StableDiffusionFolder:
        """Convert the file into a pipeline in diffusers' layout, or find the pipeline in the store.

        Raises:
            UserError: for a file that can't be read, or that contradicts the descriptions.
        """
        build = partial(convert, self.path, self.family.text_encoders, self.averaged, self.described)
        return StableDiffusionFolder.from_path(store.get_or_build(self.key(store), build).path)
