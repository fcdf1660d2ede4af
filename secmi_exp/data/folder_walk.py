"""All folders below one, each real one once, whatever links lead back to it."""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from secmi_exp.errors import first_line
from secmi_exp.formatting import counted
from secmi_exp.run_warnings import warn


@dataclass
class FolderWalk:
    """A walk through a folder and those below it; hidden ones are left out.

    Folders are read where they lie before links to folders are followed, so that a link to one that lies below the
    same top adds nothing, whatever its name. Iterate over it, and then call `warn_of_unread`.
    """

    top: str
    linked_again: list[str] = field(default_factory=list)
    """Links to folders that were read already, as paths below the top."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Folders that could not be read, as paths below the top, and why."""

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        """The path of each folder below the top ("" for the top itself), and the names of what isn't a folder in it."""
        folders, links, seen = deque([""]), deque[str](), set[tuple[int, int]]()
        while folders or links:
            below = folders.popleft() if folders else links.popleft()
            try:
                about = os.stat(self._path(below))  # noqa: PTH116
                if (about.st_dev, about.st_ino) in seen:
                    self.linked_again.append(below)
                    continue
                seen.add((about.st_dev, about.st_ino))
                with os.scandir(self._path(below)) as found:
                    entries = sorted((each for each in found if each.name[0] != "."), key=lambda each: each.name)
            except OSError as error:
                self.unreadable.append((below or ".", error.strerror or first_line(error)))
                continue
            names = []
            for each in entries:
                if not _is_folder(each):
                    names.append(each.name)
                else:
                    (links if each.is_symlink() else folders).append(f"{below}/{each.name}" if below else each.name)
            yield below, names

    def _path(self, below: str) -> str:
        return os.path.join(self.top, below)  # noqa: PTH118  (a Path for each of 100,000 files costs more)

    def warn_of_unread(self) -> None:
        """Warn of the links and the folders that were not read."""
        if self.linked_again:
            links = counted(len(self.linked_again), "link")
            warn(
                "folders_linked_again",
                f"Not followed: {links} below {self.top} to folders that are read already "
                f"(the first of them {self.linked_again[0]}): each folder is read once.",
            )
        if self.unreadable:
            name, why = self.unreadable[0]
            folders = counted(len(self.unreadable), "folder")
            warn(
                "folders_not_read",
                f"Left out: {folders} below {self.top} that can't be read, the first of "
                f"them {name} ({why}): make them readable, or move them away.",
            )


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
