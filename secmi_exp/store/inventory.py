"""The contents of a store's folder, read without changing it: entries, leftovers of builds, and dependencies."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from secmi_exp.errors import UserError
from secmi_exp.store import REMOVED
from secmi_exp.store.manifest import DIGEST, MANIFEST, Damaged, Manifest, read_manifest
from secmi_exp.store.remembered_digests import FOLDER

LEFTOVER = re.compile(rf"(?:{REMOVED})?(?:(?P<kind>\w+)-)?(?P<digest>{DIGEST.pattern})(?:-[0-9a-f]{{8}})?")


@dataclass(frozen=True)
class Stored:
    """An entry, or a workspace of one that isn't complete."""

    path: Path
    kind: str
    digest: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.digest}"

    @cached_property
    def manifest(self) -> Manifest | None:
        """The entry's manifest; None if it can't be read."""
        try:
            return read_manifest(self.path)
        except Damaged:
            return None

    @cached_property
    def size(self) -> int:
        """Size of all files, in bytes."""
        return sum(file.stat().st_size for file in (self.path, *self.path.rglob("*")) if file.is_file())

    @cached_property
    def last_used(self) -> float:
        """When it was last reused or written to, in seconds since the epoch."""
        if (self.path / MANIFEST).is_file():
            return (self.path / MANIFEST).stat().st_mtime
        return max(file.lstat().st_mtime for file in (self.path, *self.path.rglob("*")))

    @property
    def rests_on(self) -> set[str]:
        """Digests of its inputs, direct or indirect."""
        if self.manifest is None:
            return set()
        inputs = {
            str(each) for key in (self.manifest.key, *self.manifest.made_from.values()) for each in key.inputs.values()
        }
        return {*inputs, *self.manifest.made_from}


@dataclass(frozen=True)
class Inventory:
    """All entries of a store."""

    root: Path

    @classmethod
    def from_folder(cls, root: Path) -> "Inventory":
        """Open a store's folder.

        Raises:
            UserError: where there is none.
        """
        if not (root / "work").is_dir() and not any(root.glob(f"*/*/{MANIFEST}")):
            raise UserError(f"There is no store in {root.absolute()}: name its folder by --store or by SECMI_STORE.")
        return cls(root.absolute())

    @cached_property
    def entries(self) -> list[Stored]:
        """Entries sorted by kind, the last used first."""
        found = [
            Stored(path, kind.name, path.name)
            for kind in self.root.iterdir()
            if kind.is_dir() and kind.name not in ("work", "locks", FOLDER)
            for path in kind.iterdir()
            if DIGEST.fullmatch(path.name) and path.is_dir()
        ]
        return sorted(found, key=lambda entry: (entry.kind, -entry.last_used))

    @property
    def leftovers(self) -> Iterator[Stored]:
        """Workspaces of builds that were killed or are running, and removals that were killed."""
        for path in sorted((self.root / "work").glob("*")):
            if name := LEFTOVER.fullmatch(path.name):
                yield Stored(path, name["kind"] or "removed", name["digest"])

    def find(self, wanted: str) -> Stored:
        """The entry of a digest or of the beginning of one, alone or behind its kind.

        Args:
            wanted: such as ``1a2b3c4d``, ``target/1a2b3c4d``, or the path of the entry's folder.

        Raises:
            UserError: where there is none, or more than one.
        """
        *before, digest = re.split(r"[/ ]", wanted.rstrip("/"))
        kind = before[-1] if before else None
        found = [entry for entry in self.entries if entry.digest.startswith(digest) and kind in (None, entry.kind)]
        if len(found) > 1:
            raise UserError(f"{wanted} begins the keys of {listed(found)} in {self.root}: give more of its digits.")
        if not found:
            raise UserError(
                f"There is no entry {wanted} in {self.root}: `python -m secmi_exp.store ls` lists those that there are."
            )
        return found[0]

    def of_digest(self, digest: str) -> str | None:
        """Name of the entry or file with this digest, which a key has as an input; None where the store has none."""
        for entry in self.entries:
            if entry.digest == digest:
                return str(entry)
            for name, file in entry.manifest.files.items() if entry.manifest else ():
                if file.sha256 == digest:
                    return f"{name} of {entry}"
        return None

    def computed_from(self, entry: Stored) -> list[Stored]:
        """Entries that depend on this one, directly or indirectly."""
        contents = {file.sha256 for file in entry.manifest.files.values()} if entry.manifest else set()
        return [other for other in self.entries if other.rests_on & {entry.digest, *contents} and other != entry]


def listed(entries: Sequence[Stored]) -> str:
    """The first three entries as part of a sentence."""
    names = [str(entry) for entry in entries[:3]]
    more = [f"{len(entries) - 3} more"] if len(entries) > 3 else []
    return " and ".join([", ".join(names[: None if more else -1]), *(more or names[-1:])])
