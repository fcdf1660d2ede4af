"""Fetches models that are named by a folder on disk or by a repository of the Hugging Face hub."""

import logging
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from secmi_exp.deferred import Deferred
from secmi_exp.errors import UserError
from secmi_exp.files.storage_errors import StorageLocation, explain_storage_errors
from secmi_exp.targets.loading.file_kind import SUFFIXES, refuse_file
from secmi_exp.targets.loading.settings_files import reason

hub_logger = Deferred("huggingface_hub.utils.logging:get_logger")
list_repo_files = Deferred("huggingface_hub:list_repo_files")
snapshot_download = Deferred("huggingface_hub:snapshot_download")


def fetch(path: str, files: Callable[[Collection[str]], Sequence[str]], setting: str = "target.path") -> Path:
    """Return the folder that a path names, fetched from the hub where none is on disk.

    Args:
        path: of a folder, or the name of a repository.
        files: selects the files that are read among those of a repository; nothing else is fetched.
        setting: setting that the path comes from, for messages.

    Raises:
        UserError: where it is neither a folder nor a repository that can be fetched; for a file, naming what it is.
    """
    if Path(path).is_dir():
        return Path(path).absolute()
    refuse_file(Path(path), setting)
    if Path(path).suffix.lower() in SUFFIXES:
        raise UserError(f"There is no file {path}: set {setting} to a model's folder or a repository of the hub.")
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path):
        raise UserError(
            f"There is no folder {path}: set {setting} to a model's folder or a repository of the hub, OWNER/NAME."
        )
    try:
        with explain_storage_errors(cache()):
            return _fetch_repository(path, files)
    except UserError:
        raise
    except Exception as error:  # the hub's client, HTTP and the file system each raise their own
        raise UserError(
            f"There is no folder {path} here, and a repository of this name can't be fetched from the hub "
            f"({reason(error)}): set {setting} to one of the two."
        ) from error


def _fetch_repository(repository: str, files: Callable[[Collection[str]], Sequence[str]]) -> Path:
    if logging.getLogger().handlers:  # the process shows the lines of the hub's client, which need not show them too
        hub_logger("huggingface_hub").handlers.clear()
    try:
        names = list_repo_files(repository)
    except Exception:
        with suppress(FileNotFoundError):  # without a network, what was fetched before will do
            return Path(snapshot_download(repository, local_files_only=True))
        raise
    read = files(names)
    if not read:
        raise UserError(
            f"The repository {repository} of the hub holds no model in diffusers' layout, but {', '.join(names[:4])}: "
            "fetch and convert it, and set target.path to the folder."
        )
    return Path(snapshot_download(repository, allow_patterns=list(read)))


def cache() -> StorageLocation:
    """Folder in which the hub's client keeps what it fetches."""
    return StorageLocation("the cache of the Hugging Face hub", Path(HF_HUB_CACHE), "the environment variable HF_HOME")


def is_fetched(folder: Path) -> bool:
    """Whether a folder was fetched from the hub."""
    return folder.is_relative_to(cache().folder)
