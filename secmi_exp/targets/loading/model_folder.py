"""One network in a folder of diffusers or transformers: its description, and its weights as mere tensors."""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from secmi_exp.errors import UserError
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.run_warnings import warn
from secmi_exp.store import file_digest
from secmi_exp.targets.loading.blank_networks import (
    network_without_memory,
    refuse_other_weights,
    stored_shapes,
    try_network,
)
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import NETWORKS, WeightsIndex
from secmi_exp.targets.loading.weight_files import SAFETENSORS, STEMS, ChosenWeights, Library, choose_weights
from secmi_exp.targets.loading.weights import read_json, refuse_non_finite_weights, unreadable

CONFIG = "config.json"

ORIGIN = "_name_or_path"
"""Where a network was loaded from, which diffusers notes in its description; decides nothing that it computes."""

REQUIRED = {"diffusers": ("missing", "unexpected", "mismatched"), "transformers": ("missing", "mismatched")}
"""Library → what weights must not be; checkpoints of old versions of transformers also hold buffers."""

# What the libraries warn of when weights don't fit is told here, as an error.
for library in ("diffusers.models.modeling_utils", "transformers"):
    logging.getLogger(library).setLevel(logging.ERROR)


def quiet_transformers() -> None:
    """Its bars for reading and writing weights are noise beside a run's own log."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class ModelFolder:
    """A configuration with weights beside it, in one file or in several."""

    path: Path
    library: Library
    variant: str | None = None
    """Of the weights; None: see `choose_weights`."""

    @property
    def config(self) -> dict[str, Any]:
        """What the network says of itself.

        Raises:
            UserError: where it says nothing, or a value that no network can have.
        """
        content = read_json(self.path / CONFIG)
        if schema := NETWORKS.get(str(content.get("_class_name"))):
            checked(schema, content, self.path / CONFIG)
        return content

    @cached_property
    def chosen(self) -> ChosenWeights | None:
        """The save of the weights that is read; None where there is none.

        Raises:
            UserError: where it isn't clear which one.
        """
        names = [file.name for file in self.path.iterdir() if file.is_file()] if self.path.is_dir() else []
        return choose_weights(names, self.library, self.variant, str(self.path.absolute()))

    @property
    def weights(self) -> list[Path]:
        """The files that they are read from, an index first; none where there are none."""
        if self.chosen is None:
            return []
        first = self.path / self.chosen.save.first
        if self.chosen.save.index is None:
            return [first]
        parts = checked(WeightsIndex, read_json(first), first).weight_map.values()
        return [first, *(self.path / part for part in sorted(set(parts)))]

    @property
    def files(self) -> list[Path]:
        """All that decides what it computes."""
        return [file for file in (self.path / CONFIG, *self.weights) if file.is_file()]

    def load(self, kind: Any) -> Any:
        """The network with its weights, in evaluation mode and in float32; pickled ones are read with ``weights_only``.

        Args:
            kind: its class, with a `from_pretrained` of diffusers' or transformers'.

        Raises:
            UserError: for weights that can't be read, that are no mere weights, that are not finite, or that don't fit
                the description.
        """
        self.refuse_unusable(kind)
        weights = self.present_weights()
        if self.library == "transformers":
            quiet_transformers()
            options: dict[str, Any] = {"dtype": "float32"}  # whatever they were saved in
        else:
            # Otherwise diffusers would let go of what doesn't fit before it could be told.
            options = {"low_cpu_mem_usage": False}
        try:
            network, found = kind.from_pretrained(
                self.path,
                variant=self.chosen.save.variant if self.chosen else None,
                use_safetensors=SAFETENSORS in weights.name,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # so that they are told like the others
                output_loading_info=True,
                **options,
            )
        except Exception as error:  # diffusers, transformers, safetensors and torch each raise their own
            raise unreadable(weights, error) from error
        for what in REQUIRED[self.library]:
            for key in found[f"{what}_keys"]:
                name, *shapes = [key] if isinstance(key, str) else key
                detail = " has the shapes {} and {}".format(*map(list, shapes)) if shapes else f" is {what}"
                raise UserError(
                    f"The weights in {weights} contradict the {CONFIG} beside them: {name}{detail}; put the "
                    f"{CONFIG} of the same network there."
                )
        refuse_non_finite_weights(network.state_dict(), weights)
        return network.eval()

    def refuse_unusable(self, kind: type) -> None:
        """Refuse a description that no network can have or whose weights are not these, before memory is taken for it.

        Args:
            kind: class of the network.

        Raises:
            UserError: for a description that the library refuses or that has more parameters than the weights, for
                weights that can't be read, and for a network that fails at one evaluation.
        """
        described, what = self.path / CONFIG, f"the network in {self.path}"
        config = read_json(described)
        checked(NETWORKS[kind.__name__], config, described)
        weights = self.present_weights()
        held = stored_shapes([file for file in self.weights if file.name != (self.chosen and self.chosen.save.index)])
        refuse_other_weights(network_without_memory(kind, config, what), held, weights, described)
        try_network(kind, config, what)

    def copy(self, folder: Path) -> None:
        """Copy what is read, under the names by which it is read by default, and without its origin."""
        self.present_weights()
        names = self.chosen.save.default_names if self.chosen else {}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_bytes(without_origin(self.path / CONFIG))
        for file in self.weights:
            shutil.copy2(file, folder / names.get(file.name, file.name))

    def present_weights(self) -> Path:
        """The file that the weights are found by.

        Raises:
            UserError: where there is none, or one of the files that it needs isn't there or was not fetched.
        """
        weights = self.weights
        if not weights:
            names = " or ".join(f"{stem}{ending}" for ending, stem in STEMS[self.library].items())
            raise UserError(f"{self.path.absolute()} holds no {names}: add the weights.")
        for file in weights:
            if not file.is_file():
                raise UserError(
                    f"{weights[0]} lists {file.name}, which isn't there: add it, or remove the index if another file "
                    "beside it holds the weights."
                )
            refuse_pointer(file)
        return weights[0]


def warn_of_choices(folder: Path, models: Sequence[ModelFolder]) -> None:
    """Warn of weights that were chosen among several, or that are a variant, without the user's word for it.

    Args:
        folder: that the networks are parts of.
        models: the networks.
    """
    several, variants = [], []
    for model in models:
        if model.chosen:
            where = model.path.relative_to(folder)
            first = where / model.chosen.save.first
            if model.chosen.others:
                several.append(f"{first} beside {', '.join(model.chosen.others)}")
            if model.chosen.save.variant != model.variant:
                variants.append(str(first))
    if several:
        warn(
            "weights_chosen",
            f"Several files in {folder} hold weights of one network, of which these are read: {'; '.join(several)}. If "
            "another is meant, name its variant by target.variant, or leave that one alone.",
        )
    if variants:
        warn(
            "weights_variant",
            f"No weights by their default name are in {folder}, so that the only variant is read "
            f"({', '.join(variants)}); rounded ones, such as fp16, give other t-errors than those that were trained.",
        )


def without_origin(file: Path) -> bytes:
    """The content of a description, written as diffusers would without the place that the network was loaded from."""
    content = read_json(file)
    if ORIGIN not in content:
        return file.read_bytes()
    del content[ORIGIN]
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def content_digest(file: Path) -> str:
    """SHA-256 of what a file of a network tells: of a description without its origin, of any other as it is."""
    return hashlib.sha256(without_origin(file)).hexdigest() if file.name == CONFIG else file_digest(file)
