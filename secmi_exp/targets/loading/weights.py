"""Reads untrusted files: tensors and settings alone; a file that holds anything else is refused."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secmi_exp.errors import UserError
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.files.regular import refuse_irregular
from secmi_exp.targets.loading.settings_files import unreadable

LEFT_OUT = ("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",)
"""Classes that trainers name in checkpoints beside the weights; `LeftOut` takes their place, none is imported."""


class LeftOut:
    """Stands in a checkpoint for a class that no weight needs."""


def read_pickled(path: Path) -> Any:
    """Read a file of `torch.save`, memory-mapped where it can be, without executing anything in it.

    Raises:
        UserError: for a file that is damaged, is a Git-LFS pointer, or holds more than tensors in plain containers.
    """
    refuse_pointer(path)
    try:
        refuse_compressed(path)
        with torch.serialization.safe_globals([(LeftOut, name) for name in LEFT_OUT]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch names no single exception for a broken file
        raise unreadable(path, error) from error


def refuse_compressed(path: Path) -> None:
    """Refuse what isn't a regular file, and an archive that would become larger when it is read.

    Raises:
        OSError: for what isn't a regular file.
        ValueError: for a compressed archive, as `torch.save` compresses nothing.
    """
    refuse_irregular(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"it would unpack to {unpacked} bytes, where torch.save compresses nothing")


def refuse_non_finite_weights(tensors: Mapping[str, Tensor], source: Path) -> None:
    """Refuse a network's weights where one of them is NaN or infinite.

    Args:
        tensors: name → tensor.
        source: file of the weights.

    Raises:
        UserError: naming the file, how many weights in how many tensors, and the first tensor.
    """
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    bad = [name for name, tensor in floating.items() if not all(end.isfinite() for end in tensor.aminmax())]
    if bad:
        count = sum(int((~floating[name].isfinite()).sum()) for name in bad)
        raise UserError(
            f"{source} holds {count} weights that are NaN or infinite, in {len(bad)} of {len(tensors)} tensors, the "
            f"first of them {bad[0]}: its training has diverged or the file is damaged; take another checkpoint."
        )
