"""One network in a folder of diffusers or transformers: its description, and its weights, read as tensors alone."""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.run_warnings import warn
from secmi_exp.store import FileDigest
from secmi_exp.targets.loading.json_fields import JsonObject, checked
from secmi_exp.targets.loading.libraries import network_class
from secmi_exp.targets.loading.model_file_schemas import NETWORKS, WeightsIndex
from secmi_exp.targets.loading.settings_files import read_json, unreadable
from secmi_exp.targets.loading.weight_files import SAFETENSORS, STEMS, ChosenWeights, Library, choose_weights

disable_progress_bar = Deferred("transformers.utils.logging:disable_progress_bar")
forget_target = Deferred("secmi_exp.engine.kept_target:forget_target")
network_without_memory = Deferred("secmi_exp.targets.loading.blank_networks:network_without_memory")
refuse_non_finite_weights = Deferred("secmi_exp.targets.loading.weights:refuse_non_finite_weights")
refuse_other_weights = Deferred("secmi_exp.targets.loading.blank_networks:refuse_other_weights")
stored_shapes = Deferred("secmi_exp.targets.loading.blank_networks:stored_shapes")
try_network = Deferred("secmi_exp.targets.loading.blank_networks:try_network")

CONFIG = "config.json"

ORIGIN = "_name_or_path"
"""Key of a description under which diffusers notes where the network was loaded from; decides no value."""

REQUIRED = {"diffusers": ("missing", "unexpected", "mismatched"), "transformers": ("missing", "mismatched")}
"""Library → faults of weights that are refused; checkpoints of old versions of transformers also hold buffers."""

# The libraries warn of weights that don't fit; here that is an error.
for library in ("diffusers.models.modeling_utils", "transformers"):
    logging.getLogger(library).setLevel(logging.ERROR)


@dataclass(frozen=True)
class ModelFolder:
    """A configuration with weights beside it, in one file or in several."""

    path: Path
    library: Library
    variant: str | None = None
    """Variant of the weights; None: see `choose_weights`."""

    @property
    def config(self) -> dict[str, Any]:
        """Description of the network.

        Raises:
            UserError: where there is none, and for a value that no network can have.
        """
        content = read_json(self.path / CONFIG)
        if schema := NETWORKS.get(str(content.get("_class_name"))):
            checked(schema, content, self.path / CONFIG)
        return content

    @cached_property
    def chosen(self) -> ChosenWeights | None:
        """Save of the weights that is read; None where there is none.

        Raises:
            UserError: where it isn't clear which one is meant.
        """
        names = [file.name for file in self.path.iterdir() if file.is_file()] if self.path.is_dir() else []
        return choose_weights(names, self.library, self.variant, str(self.path.absolute()))

    @property
    def weights(self) -> list[Path]:
        """Files that the weights are read from, an index first."""
        if self.chosen is None:
            return []
        first = self.path / self.chosen.save.first
        if self.chosen.save.index is None:
            return [first]
        parts = checked(WeightsIndex, read_json(first), first).weight_map.values()
        return [first, *(self.path / part for part in sorted(set(parts)))]

    @property
    def files(self) -> list[Path]:
        """Files that decide what the network computes."""
        return [file for file in (self.path / CONFIG, *self.weights) if file.is_file()]

    def load(self, name: str) -> Any:
        """Load the network with its weights, in evaluation mode and in float32, pickled ones with ``weights_only``.

        Args:
            name: of its class in the library.

        Raises:
            UserError: for weights that can't be read, that could execute code, that are not finite, or that don't fit
                the description.
        """
        self.refuse_unusable(name)
        forget_target()
        weights = self.present_weights()
        if self.library == "transformers":
            disable_progress_bar()
            options: dict[str, Any] = {"dtype": "float32"}  # in whatever precision they were saved
        else:
            # Otherwise diffusers would drop what doesn't fit before it could be reported.
            options = {"low_cpu_mem_usage": False}
        try:
            network, found = network_class(self.library, name).from_pretrained(
                self.path,
                variant=self.chosen.save.variant if self.chosen else None,
                use_safetensors=SAFETENSORS in weights.name,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # so that they are reported like the others
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

    def refuse_unusable(self, name: str) -> None:
        """Refuse a description that no network can have or that doesn't fit the weights, before memory is allocated.

        Args:
            name: of the network's class in the library.

        Raises:
            UserError: for a description that the library refuses or that has more parameters than the weights, for
                weights that can't be read, and for a network that fails at one evaluation.
        """
        described, what = self.path / CONFIG, f"the network in {self.path}"
        config = read_json(described)
        checked(NETWORKS.get(name, JsonObject), config, described)
        kind, weights = network_class(self.library, name), self.present_weights()
        held = stored_shapes([file for file in self.weights if file.name != (self.chosen and self.chosen.save.index)])
        blank = network_without_memory(kind, config, what, shared=True)
        refuse_other_weights(blank, held, weights, described)
        try_network(kind, config, what)

    def refuse_unusable_description(self, name: str) -> None:
        """Refuse a description that no network can have, whatever the weights are; see `refuse_unusable`."""
        described = self.path / CONFIG
        config = read_json(described)
        checked(NETWORKS[name], config, described)
        try_network(network_class(self.library, name), config, f"the network in {self.path}")

    def copy(self, folder: Path) -> None:
        """Copy the files that are read, under their default names, and without the network's origin."""
        self.present_weights()
        names = self.chosen.save.default_names if self.chosen else {}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_bytes(without_origin(self.path / CONFIG))
        for file in self.weights:
            shutil.copy2(file, folder / names.get(file.name, file.name))

    def present_weights(self) -> Path:
        """Return the file of the weights, or the index of its parts.

        Raises:
            UserError: where there is none, or a part isn't there or is a Git-LFS pointer.
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
    """Warn of weights that were chosen among several, or that are a variant, where the user hasn't chosen them.

    Args:
        folder: folder of the pipeline.
        models: its networks.
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
            "another is meant, name its variant by target.variant, or leave only that file there.",
        )
    if variants:
        warn(
            "weights_variant",
            f"{folder} has no weights by their default name, so that the only variant is read "
            f"({', '.join(variants)}); rounded weights, such as fp16, give other t-errors than the trained ones.",
        )


def without_origin(file: Path) -> bytes:
    """Return the content of a description as diffusers would write it, without the place that it was loaded from."""
    content = read_json(file)
    if ORIGIN not in content:
        return file.read_bytes()
    del content[ORIGIN]
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def content_digest(file: Path, digest: FileDigest) -> str:
    """Return the SHA-256 of a network's file as ``digest`` gives it; of a description, without its origin."""
    return hashlib.sha256(without_origin(file)).hexdigest() if file.name == CONFIG else digest(file)
