"""A file with a low-rank adapter (LoRA): which networks of a pipeline it changes, as its names say.

Two layouts are read: that of diffusers and peft, and that of Kohya's scripts, which most user interfaces take.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from secmi_exp.errors import UserError
from secmi_exp.targets.loading.tensor_headers import TYPES, tensor_headers
from secmi_exp.targets.loading.weight_files import SAFETENSORS

PREFIXES = {
    "unet.": "unet", "text_encoder.": "text_encoder", "text_encoder_2.": "text_encoder_2",
    "lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2",
}  # fmt: skip
"""Prefix of the tensors' names → part of the pipeline; Kohya's begin with ``lora_``."""

DOWN = re.compile(r"[._]lora(?:_A|[._]down|_linear_layer\.down)\.weight")
UP = re.compile(r"[._]lora(?:_B|[._]up|_linear_layer\.up)\.weight")
ALPHA = ".alpha"
"""Ends of the names of the two matrices and, in Kohya's layout, of the number that their product is scaled by."""


def is_down(name: str) -> bool:
    """Whether a tensor is the first matrix of a pair, which leads down to the rank.

    >>> is_down("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"), is_down("unet.conv_in.lora_A.weight")
    (True, True)
    """
    return bool(DOWN.search(name)) and name.endswith(".weight")


def is_up(name: str) -> bool:
    """Whether a tensor is the second matrix of a pair."""
    return bool(UP.search(name)) and name.endswith(".weight")


@dataclass(frozen=True)
class LoRAFile:
    """An adapter, and how much of it is added."""

    path: Path
    scale: float
    """Factor of what the adapter adds to the weights; 1: as it was trained."""
    parts: tuple[str, ...]
    """Networks that it changes."""

    @classmethod
    def at(cls, path: Path, scale: float, parts: Collection[str]) -> "LoRAFile":
        """Read the names.

        Args:
            path: the file.
            scale: see `LoRAFile.scale`.
            parts: parts of the pipeline that it is for.

        Raises:
            UserError: for another file, tensors that aren't those of a plain adapter, and one for another pipeline.
        """
        if not path.is_file():
            raise UserError(f"There is no file {path.absolute()}: set target.lora to an adapter in safetensors.")
        if path.suffix != SAFETENSORS:
            raise UserError(
                f"target.lora={path} doesn't end in {SAFETENSORS}: adapters are read from safetensors alone."
            )
        headers = tensor_headers(path)
        names = list(headers)
        strange = [name for name in names if not (is_down(name) or is_up(name) or name.endswith(ALPHA))]
        if strange:
            raise UserError(
                f"{len(strange)} of {len(names)} tensors in target.lora={path} are no matrices or alphas of a plain "
                f"LoRA ({strange[0]}): an adapter of another kind, such as DoRA or LoHa, can't be read."
            )
        for name, header in headers.items():
            if header.dtype not in TYPES.values() and not name.endswith(ALPHA):
                raise UserError(
                    f"{name} in target.lora={path} has the type {header.dtype}: take one of floating point."
                )
        found = {name: _part_of(name) for name in names}
        other = [name for name, part in found.items() if part not in parts]
        if other or not names:
            known = ", ".join(prefix for prefix, part in PREFIXES.items() if part in parts)
            first = f", the first {other[0]}" if other else ""
            raise UserError(
                f"{len(other)} of {len(names)} tensors in target.lora={path} are for none of the pipeline's networks"
                f"{first}: their names must begin with {known}."
            )
        return cls(path, scale, tuple(sorted({str(part) for part in found.values()})))


def _part_of(name: str) -> str | None:
    return next((part for prefix, part in PREFIXES.items() if name.startswith(prefix)), None)
