"""Keys of results: made of everything that decides them, so that equal keys mean equal results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from secmi_exp.files.strict_json import Json, as_strict_json


@dataclass(frozen=True)
class Key:
    """Names a result by what decides it; equal keys mean equal results.

    A key may also name what is no entry of the store, such as a trajectory, whose timesteps are entries of their own.
    """

    kind: str
    """The stage, such as ``target``; the folder that the entry lies in."""
    version: int
    """Version of the code that computes it; raised when that code's result changes."""
    config: Mapping[str, Json]
    """The stage's own resolved configuration."""
    inputs: Mapping[str, Input] = field(default_factory=dict)
    """The stage's inputs."""
    files: tuple[str, ...] = ()
    """Files that an entry of this key must have, below its folder; patterns such as ``unet/*.safetensors`` stand for
    one file or more. They decide nothing, and are no part of the digest."""
    label: str = ""
    """A name for readers, such as its timestep, that distinguishes it within its kind; not part of the digest."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the key in canonical JSON, shortened to 128 bits."""
        return hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def description(self) -> dict[str, Json]:
        """The key in full, as entry.json holds it."""
        inputs = {name: digest_of(each) for name, each in self.inputs.items()}
        config = as_strict_json(self.config, str)
        return {"kind": self.kind, "version": self.version, "config": config, "inputs": inputs}

    @property
    def ancestors(self) -> dict[str, Key]:
        """Digest → key, of all keys that this one rests on, directly or not."""
        found: dict[str, Key] = {}
        for each in self.inputs.values():
            if isinstance(each, Key):
                found |= {each.digest: each, **each.ancestors}
        return found

    def __str__(self) -> str:
        return f"{self.kind} {self.digest[:8]}"


Input = Key | str
"""An input of a stage: the key of another result, or the digest of contents from outside the store."""


def digest_of(given: Input) -> str:
    """The input's digest, as keys have it."""
    return given.digest if isinstance(given, Key) else given


FileDigest = Callable[[Path], str]
"""Returns the SHA-256 of a file: `file_digest`, or `Store.file_digest`, which remembers those of large files."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
