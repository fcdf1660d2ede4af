"""The manifest of an entry, ``entry.json``, and checks of the entry against it."""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from secmi_exp.files.atomic import PARTIAL, written_whole
from secmi_exp.files.strict_json import Json, read_foreign_json
from secmi_exp.store.key import FileDigest, Key, file_digest

MANIFEST = "entry.json"
SCRATCH = "scratch"
"""Folder of a workspace that is no part of the entry."""

MOST_BYTES = 64 * 2**20
"""Largest size of ``entry.json``."""
LONGEST_NAME = 255
"""Characters of a file's name that file systems allow."""

DIGEST = re.compile(r"[0-9a-f]{32}")


class Damaged(Exception):
    """An entry that is not what its manifest says, or not the one that was asked for."""


@dataclass(frozen=True)
class StoredFile:
    """A file as it was when the entry was complete."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of entry.json."""

    key: Key
    seconds: float
    """Time that the build took, including entries that were built together with this one."""
    files: Mapping[str, StoredFile]
    """Path below the entry's folder, with slashes → file."""
    made_from: Mapping[str, Key]
    """Digest → key, of what the entry rests on, directly or not; empty in entries of older versions."""


def read_manifest(entry: Path) -> Manifest:
    """Read a manifest without comparing it with anything.

    Raises:
        Damaged: where it isn't there, or is no manifest.
    """
    try:
        content: Any = read_foreign_json(entry / MANIFEST, MOST_BYTES)
        manifest = Manifest(
            _key(content["key"]),
            float(content["seconds"]),
            {name: StoredFile(int(file["bytes"]), str(file["sha256"])) for name, file in content["files"].items()},
            {digest: _key(key) for digest, key in content.get("made_from", {}).items()},
        )
        _ = manifest.key.digest, [os.fsencode(name) for name in manifest.files]  # fail for what no key or name can be
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Damaged(f"{MANIFEST} can't be read, or is none") from error
    for name in manifest.files:
        path = PurePosixPath(name)
        if any(len(part) > LONGEST_NAME for part in path.parts):
            raise Damaged(f"{MANIFEST} lists a file of {len(name)} characters, which none can have")
        if path.is_absolute() or ".." in path.parts:
            raise Damaged(f"{MANIFEST} lists {name!r}, which lies outside of the entry")
    return manifest


def _key(content: Mapping[str, Any]) -> Key:
    inputs = {str(name): str(digest) for name, digest in content["inputs"].items()}
    return Key(str(content["kind"]), int(content["version"]), dict(content["config"]), inputs)


def check(
    entry: Path, key: Key | None = None, *, files: tuple[str, ...] = (), digest: FileDigest = file_digest
) -> Manifest:
    """Compare an entry with the key that it should have, and its files with its manifest.

    Args:
        entry: folder of the entry, or a workspace.
        key: requested key. None: any key in the manifest, unless the folder is named by the digest of another one.
        files: files that it must have besides those of the key; see `Key.files`.
        digest: returns the digest of a file; where it differs from the manifest's, the file is read to make sure.

    Raises:
        Damaged: naming what first differs.
    """
    manifest = read_manifest(entry)
    if key is None and DIGEST.fullmatch(entry.name) and entry.name != manifest.key.digest:
        raise Damaged(f"it holds {manifest.key} instead")
    if key is not None and key.digest != manifest.key.digest:
        raise Damaged(f"it holds {manifest.key} instead")
    lacking = missing_files(manifest.files, (*(key.files if key else ()), *files))
    if lacking or not manifest.files:
        raise Damaged(f"{MANIFEST} lists no {lacking[0] if lacking else 'files'}")
    for name, stored in manifest.files.items():
        try:
            _check_file(entry / name, name, stored, digest)
        except FileNotFoundError as error:  # removed by another process just now
            raise Damaged(f"{name} is missing") from error
    return manifest


def _check_file(file: Path, name: str, stored: StoredFile, digest: FileDigest) -> None:
    if not file.is_file():
        raise Damaged(f"{name} is missing")
    if file.stat().st_size != stored.bytes:
        raise Damaged(f"{name} has {file.stat().st_size} bytes instead of {stored.bytes}")
    if digest(file) != stored.sha256 and file_digest(file) != stored.sha256:
        raise Damaged(f"{name} has changed")


def missing_files(files: Mapping[str, object], required: tuple[str, ...]) -> list[str]:
    """The required patterns that no file matches.

    >>> missing_files({"unet/model.safetensors": 1}, ("unet/*.safetensors", "scores.npy"))
    ['scores.npy']
    """
    return [pattern for pattern in required if not any(fnmatchcase(name, pattern) for name in files)]


def content_files(folder: Path) -> dict[str, Path]:
    """The files of a workspace that the entry will have, by their paths below it; without partially written ones."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not fnmatchcase(file.name, PARTIAL))
    named = {file.relative_to(folder).as_posix(): file for file in files}
    return {name: file for name, file in named.items() if name != MANIFEST and SCRATCH not in Path(name).parts}


def write_manifest(workspace: Path, key: Key, seconds: float) -> None:
    """Declare a workspace finished.

    Raises:
        RuntimeError: for a build that has left less than its key says.
    """
    for left in (workspace / MANIFEST, *workspace.rglob(PARTIAL)):  # by kills while they were being written
        left.unlink(missing_ok=True)
    files = content_files(workspace)
    if lacking := missing_files(files, key.files):
        raise RuntimeError(f"The build of {key} has left no {lacking[0]}.")
    manifest: dict[str, Json] = {
        "key": key.description,
        "seconds": round(seconds, 3),
        "files": {name: {"bytes": file.stat().st_size, "sha256": file_digest(file)} for name, file in files.items()},
        "made_from": {digest: ancestor.description for digest, ancestor in key.ancestors.items()},
    }
    write_json(workspace / MANIFEST, manifest)


def share(workspace: Path) -> None:
    """Give all files of a finished workspace the mode of its manifest, and all folders that of the workspace itself.

    These are what the umask gives, while libraries that write to a temporary file first leave it to its owner alone.
    """
    mode, folder_mode = ((path.stat().st_mode & 0o7777) for path in (workspace / MANIFEST, workspace))
    for path in workspace.rglob("*"):
        if not path.is_symlink():
            with suppress(PermissionError):  # another user's, who began what this one has continued
                path.chmod(folder_mode if path.is_dir() else mode)


def note_use(entry: Path) -> None:
    """Make the manifest's modification time that of the entry's last use; it was that of its completion.

    One that this user may not write to stays as it is, though its owner could change the time all the same.
    """
    if os.access(entry / MANIFEST, os.W_OK):
        with suppress(OSError):  # another's entry
            os.utime(entry / MANIFEST)


def write_json(path: Path, content: Json) -> None:
    """Write JSON so that a reader sees either the old file or the whole new one.

    Raises:
        ValueError: for a number that is not finite, which JSON doesn't have; see `as_strict_json`.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with written_whole(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
