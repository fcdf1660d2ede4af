"""Reading what strangers saved: tensors and settings alone, and one sentence for whatever else is found."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secmi_exp.files.strict_json import read_foreign_json

from secmi_exp.errors import UserError
from secmi_exp.files.git_lfs import refuse_pointer
from secmi_exp.files.regular import refuse_irregular

if TYPE_CHECKING:
    from torch import Tensor


def read_pickled(path: Path) -> Any:
    """A file of `torch.save`, memory-mapped where it can be; nothing in it is executed.

    Raises:
        UserError: for a file that is damaged or was not fetched, or that holds more than tensors in plain containers.
    """
    refuse_pointer(path)
    import torch

    try:
        refuse_compressed(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch names no single exception for a broken file
        raise unreadable(path, error) from error


def refuse_compressed(path: Path) -> None:
    """Refuse what isn't a regular file, and an archive that would become larger by being read.

    Raises:
        OSError: where it is no regular file.
        ValueError: for a compressed archive, as `torch.save` compresses nothing.
    """
    refuse_irregular(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"it would unpack to {unpacked} bytes, where torch.save compresses nothing")


def read_json(path: Path) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        UserError: for a file that can't be read or was not fetched, or holds something else.
    """
    refuse_pointer(path)
    try:
        content = read_foreign_json(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__} where settings are expected: is it the right file?")
    return content


def unreadable(path: Path, error: BaseException) -> UserError:
    """The sentence for a file whose reading raised."""
    cause = root(error)
    if isinstance(cause, pickle.UnpicklingError):
        found = cause.__context__ or cause  # torch puts advice in the place of what it has found
        return UserError(
            f"{path} is refused, because it is no pickle of weights alone ({reason(found)}) and any other could "
            "execute code: have it saved as a plain state dict or as safetensors."
        )
    return UserError(f"{path} can't be read ({reason(cause)}): is it complete, and of the format that target names?")


def root(error: BaseException) -> BaseException:
    """What first went wrong, below the exceptions that libraries put around it."""
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = inner
    return error


def reason(error: BaseException) -> str:
    """What an exception says in its first line, or its name where it says nothing in words."""
    first, *_ = [*str(error).strip().splitlines(), ""]
    return first.rstrip(".") if " " in first else f"{type(error).__name__} {first}".rstrip()


def refuse_non_finite_weights(tensors: Mapping[str, "Tensor"], source: Path) -> None:
    """Refuse a network's weights where one of them is NaN or infinite.

    Args:
        tensors: by name.
        source: the file that they come from.

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
