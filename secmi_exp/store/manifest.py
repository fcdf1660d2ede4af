"""What an entry says of itself in ``entry.json``, and whether that is true."""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from secmi_exp.regular_files import read_regular
from secmi_exp.store.key import Key, file_digest
from secmi_exp.strict_json import Json

MANIFEST = "entry.json"
SCRATCH = "scratch"
"""Folder of a workspace that is no part of the entry."""

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
    """What entry.json holds."""

    key: Key
    seconds: float
    """That building it took, together with those that were built at once."""
    files: Mapping[str, StoredFile]
    """By the path below the entry's folder, with slashes."""
    made_from: Mapping[str, Key]
    """Digest → key, of what the entry rests on, directly or not; empty in entries of older versions."""


def read_manifest(entry: Path) -> Manifest:
    """Read it, and compare nothing.

    Raises:
        Damaged: where it isn't there, or is no manifest.
    """
    try:
        content = json.loads(read_regular(entry / MANIFEST))
        manifest = Manifest(
            _key(content["key"]),
            float(content["seconds"]),
            {name: StoredFile(int(file["bytes"]), str(file["sha256"])) for name, file in content["files"].items()},
            {digest: _key(key) for digest, key in content.get("made_from", {}).items()},
        )
    except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{MANIFEST} can't be read, or is none") from error
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise Damaged(f"{MANIFEST} lists {name!r}, which lies outside of the entry")
    return manifest


def _key(content: Mapping[str, Any]) -> Key:
    inputs = {str(name): str(digest) for name, digest in content["inputs"].items()}
    return Key(str(content["kind"]), int(content["version"]), dict(content["config"]), inputs)


def check(entry: Path, key: Key | None = None, *, files: tuple[str, ...] = ()) -> Manifest:
    """Compare an entry with the key that it should have, and its files with its manifest.

    Args:
        entry: its folder, or a workspace.
        key: that was asked for. None: whatever the manifest names, if only the folder isn't named by another's digest.
        files: that it must have besides those of the key; see `Key.files`.

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
            _check_file(entry / name, name, stored)
        except FileNotFoundError as error:  # removed by another process just now
            raise Damaged(f"{name} is missing") from error
    return manifest


def _check_file(file: Path, name: str, stored: StoredFile) -> None:
    if not file.is_file():
        raise Damaged(f"{name} is missing")
    if file.stat().st_size != stored.bytes:
        raise Damaged(f"{name} has {file.stat().st_size} bytes instead of {stored.bytes}")
    if file_digest(file) != stored.sha256:
        raise Damaged(f"{name} has changed")


def missing_files(files: Mapping[str, object], required: tuple[str, ...]) -> list[str]:
    """Those of the required patterns that no file fits.

    >>> missing_files({"unet/model.safetensors": 1}, ("unet/*.safetensors", "scores.npy"))
    ['scores.npy']
    """
    return [pattern for pattern in required if not any(fnmatchcase(name, pattern) for name in files)]


def content_files(folder: Path) -> dict[str, Path]:
    """What the entry will consist of that is built in a workspace, by its path below it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    named = {file.relative_to(folder).as_posix(): file for file in files}
    return {name: file for name, file in named.items() if name != MANIFEST and SCRATCH not in Path(name).parts}


def write_manifest(workspace: Path, key: Key, seconds: float) -> None:
    """Declare a workspace finished.

    Raises:
        RuntimeError: for a build that has left less than its key says.
    """
    for left in (workspace / MANIFEST, *workspace.rglob(".*.partial")):  # by kills while JSON was being written
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


def note_use(entry: Path) -> None:
    """Make the manifest's modification time that of the entry's last use; it was that of its completion."""
    with suppress(OSError):  # another's entry may be read only
        os.utime(entry / MANIFEST)


def write_json(path: Path, content: Json) -> None:
    """Write JSON so that a reader sees either the old file or the whole new one.

    Raises:
        ValueError: for a number that is not finite, which JSON doesn't have; see `as_strict_json`.
    """
    partial = path.with_name(f".{path.name}.partial")
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
