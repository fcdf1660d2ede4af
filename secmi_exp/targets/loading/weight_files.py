"""Which of the files in a network's folder its weights are read from: one rule for a folder on disk and for the hub.

The names are those that diffusers and transformers write: ``STEM.safetensors`` or ``STEM.bin``, with the name of a
variant such as fp16 before the ending, and in place of one file an index with the parts that it lists.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from secmi_exp.errors import UserError

Library = Literal["diffusers", "transformers"]

SAFETENSORS, PICKLE = ".safetensors", ".bin"
STEMS: dict[Library, dict[str, str]] = {
    "diffusers": {SAFETENSORS: "diffusion_pytorch_model", PICKLE: "diffusion_pytorch_model"},
    "transformers": {SAFETENSORS: "model", PICKLE: "pytorch_model"},
}
"""Library → kind of file → its name without the ending; the preferred kind first."""

NAME = r"{stem}(?:\.([\w-]+?))?(-\d+-of-\d+)?(?:\.([\w-]+))?{ending}((?:\.([\w-]+))?\.index(?:\.([\w-]+))?\.json)?"
"""A variant may stand in any of four places: the libraries have changed theirs for parts and indices."""


@dataclass(frozen=True)
class SavedWeights:
    """One save of a network's weights."""

    stem: str
    ending: str
    variant: str | None
    """None: the one that is read by default."""
    index: str | None
    """Name of the file that lists the parts; None where there is one file."""
    files: tuple[str, ...]
    """That hold weights."""

    @property
    def first(self) -> str:
        """The file that the others are found by."""
        return self.index or self.files[0]

    @property
    def default_names(self) -> dict[str, str]:
        """Name → the name by which the libraries find it without being told of a variant."""
        plain = f"{self.stem}{self.ending}"
        if self.index is None:
            return {self.first: plain}
        return {self.index: f"{plain}.index.json", **{part: part for part in self.files}}


@dataclass(frozen=True)
class ChosenWeights:
    """The save that is read, and those beside it that might have been meant."""

    save: SavedWeights
    others: tuple[str, ...]


def saves(names: Iterable[str], library: Library) -> list[SavedWeights]:
    """Every save among the names of a folder's files, those first that the library itself prefers.

    >>> names = ["model.safetensors", "pytorch_model.bin", "model.fp16.safetensors"]
    >>> [save.first for save in saves(names, "transformers")]
    ['model.fp16.safetensors', 'model.safetensors', 'pytorch_model.bin']
    """
    names = sorted(names)
    found = []
    for ending, stem in STEMS[library].items():
        pattern = re.compile(NAME.format(stem=re.escape(stem), ending=re.escape(ending)))
        single: dict[str | None, str] = {}
        indices: dict[str | None, str] = {}
        parts: dict[str | None, list[str]] = {}
        for name in names:
            if match := pattern.fullmatch(name):
                early, part, late, index, *in_index = match.groups()
                variant = next(filter(None, (early, late, *in_index)), None)
                if index:
                    indices[variant] = name
                elif part:
                    parts.setdefault(variant, []).append(name)
                else:
                    single[variant] = name
        whole = [SavedWeights(stem, ending, variant, None, (name,)) for variant, name in single.items()]
        split = [
            SavedWeights(stem, ending, variant, index, tuple(parts.get(variant, [])))
            for variant, index in indices.items()
        ]
        # Beside an index diffusers doesn't look at a single file, and transformers the other way round.
        found += [*split, *whole] if library == "diffusers" else [*whole, *split]
    return found


def with_variant(names: Iterable[str], library: Library, variant: str | None) -> str | None:
    """The variant where it is among a folder's files, else None; for parts of a pipeline that needn't have it."""
    return variant if any(save.variant == variant for save in saves(names, library)) else None


def choose_weights(names: Collection[str], library: Library, variant: str | None, where: str) -> ChosenWeights | None:
    """The save to read: safetensors before pickles, and by default the one that is no variant.

    Args:
        names: of the files in the network's folder.
        library: that has written them.
        variant: the user's choice; None: the default one, or the only variant.
        where: the folder, for messages.

    Returns:
        None where no weights are there at all.

    Raises:
        UserError: where only variants are there and none was chosen, or where the chosen one isn't there.
    """
    every = saves(names, library)
    if not every:
        return None
    variants = list(dict.fromkeys(save.variant for save in every if save.variant))
    fitting = [save for save in every if save.variant == variant]
    if not fitting and variant is None and len(variants) == 1:
        fitting = every
    if not fitting and variant is None:
        raise UserError(
            f"{where} holds the weights in the variants {', '.join(variants)} alone: say by target.variant which of "
            "them is meant, or leave only that one."
        )
    if not fitting:
        there = ", ".join(variants) or "none at all"
        raise UserError(f"{where} has no weights of the variant {variant}; its variants are: {there}.")
    beside = fitting if variant else every
    return ChosenWeights(fitting[0], tuple(save.first for save in beside if save is not fitting[0]))


def network_files(names: Collection[str], folder: str, library: Library, variant: str | None, where: str) -> list[str]:
    """The files that `ModelFolder` reads of a network, among the names of a whole repository.

    Args:
        names: relative to the repository.
        folder: of the network, relative to it too; empty: the repository's own.
        library: see `choose_weights`, as for the others.
        variant: of the weights.
        where: the repository, for messages.

    Raises:
        UserError: as `choose_weights` does.
    """
    prefix = f"{folder}/" if folder else ""
    beside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    own = [name for name in beside if "/" not in name]
    chosen = choose_weights(own, library, variant, f"{where}/{folder}".rstrip("/"))
    save = chosen.save if chosen else None
    read = ["config.json", *([save.index] if save and save.index else []), *(save.files if save else ())]
    return [f"{prefix}{name}" for name in read if name in own]
