"""Models by the name of a folder on disk, or of a repository of the Hugging Face hub."""

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from secmi_exp.errors import UserError
from secmi_exp.files.storage_errors import Place, explain_storage_errors
from secmi_exp.targets.loading.file_kind import SUFFIXES, refuse_file
from secmi_exp.targets.loading.weights import reason


def found(path: str, files: Callable[[Collection[str]], Sequence[str]], setting: str = "target.path") -> Path:
    """The folder that a path names, fetched from the hub where none is on disk.

    Args:
        path: of a folder, or the name of a repository.
        files: of the names of all files of a repository those that are read; nothing else is fetched.
        setting: that the path comes from, for messages.

    Raises:
        UserError: where it is neither a folder nor a repository that can be fetched, and for a file, saying what it is.
    """
    if Path(path).is_dir():
        return Path(path).absolute()
    refuse_file(Path(path), setting)
    if Path(path).suffix.lower() in SUFFIXES:
        raise UserError(f"There is no file {path}: set {setting} to a model's folder or a repository of the hub.")
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", path):
        raise UserError(f"There is no folder {path}: set {setting} to a model's folder or a repository of the hub.")
    try:
        with explain_storage_errors(cache()):
            return _fetched(path, files)
    except UserError:
        raise
    except Exception as error:  # the hub's client, HTTP and the file system each raise their own
        raise UserError(
            f"There is no folder {path} here, and a repository of this name can't be fetched from the hub "
            f"({reason(error)}): set {setting} to one of the two."
        ) from error


def _fetched(repository: str, files: Callable[[Collection[str]], Sequence[str]]) -> Path:
    from huggingface_hub import list_repo_files, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        names = list_repo_files(repository)
    except Exception:
        try:  # without a network, what was fetched before will do
            return Path(snapshot_download(repository, local_files_only=True))
        except LocalEntryNotFoundError:
            pass
        raise
    read = files(names)
    if not read:
        raise UserError(
            f"The repository {repository} of the hub holds no model in diffusers' layout, but {', '.join(names[:4])}: "
            "fetch and convert it, and set target.path to the folder."
        )
    return Path(snapshot_download(repository, allow_patterns=list(read)))


def cache() -> Place:
    """Where the hub's client keeps what it fetches."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Place("the cache of the Hugging Face hub", Path(HF_HUB_CACHE), "the environment variable HF_HOME")


def is_fetched(folder: Path) -> bool:
    """Whether a folder lies there."""
    return folder.is_relative_to(cache().folder)
