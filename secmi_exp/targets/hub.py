"""Models by the name of a folder on disk, or of a repository of the Hugging Face hub."""

import re
from collections.abc import Sequence
from pathlib import Path

from secmi_exp.errors import UserError
from secmi_exp.targets.weights import reason


def found(path: str, files: Sequence[str], setting: str = "target.path") -> Path:
    """The folder that a path names, fetched from the hub where none is on disk.

    Args:
        path: of a folder, or the name of a repository.
        files: patterns of those that are read; whatever else lies in a repository is not even fetched.
        setting: that the path comes from, for messages.

    Raises:
        UserError: where it is neither a folder nor a repository that can be fetched.
    """
    if Path(path).is_dir():
        return Path(path).absolute()
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", path):
        raise UserError(f"There is no folder {path}: set {setting} to a model's folder or a repository of the hub.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(path, allow_patterns=list(files)))
    except Exception as error:  # the hub's client, HTTP and the file system each raise their own
        raise UserError(
            f"There is no folder {path} here, and a repository of this name can't be fetched from the hub "
            f"({reason(error)}): set {setting} to one of the two."
        ) from error


def is_fetched(folder: Path) -> bool:
    """Whether a folder lies where the hub's client keeps what it fetches."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return folder.is_relative_to(HF_HUB_CACHE)
