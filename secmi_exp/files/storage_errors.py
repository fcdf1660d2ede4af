"""Errors of the file system, such as a full disk, each explained in one sentence that names the folder.

Python gives the file's name where opening failed, not where writing did, and other libraries' writers don't even raise
OSError: hence whoever writes says by `explain_storage_errors` where that is.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secmi_exp.errors import UserError, first_line
from secmi_exp.formatting import LONGEST_VALUE, as_size, shortened

try:
    import resource
except ImportError:  # Windows knows no limits of a process
    resource = None  # type: ignore[assignment]

AGAIN = "the same command then continues where it was"

NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV}
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP}
FAILED = {errno.EIO, errno.ESTALE, errno.ENXIO}
TOO_MANY = {errno.EMFILE, errno.ENFILE}
KNOWN = NOT_WRITABLE | NO_ROOM | NO_LOCKS | FAILED | IN_THE_WAY | TOO_MANY
"""Errors that the owner of the disk or the folder can resolve."""

IN_WORDS = re.compile(r"os error (\d+)|[Ee]rrno (\d+)")
"""The error's number in messages of safetensors and pyarrow."""
CUT_SHORT = re.compile(r"unexpected pos \d+ vs \d+|PytorchStreamWriter failed|\d+ requested and \d+ written")
"""Messages of torch and NumPy where less was written than requested, without the error's number."""


@dataclass(frozen=True)
class StorageLocation:
    """A folder that is written to."""

    name: str
    """Name in the middle of a sentence, such as "the store"."""
    folder: Path
    setting: str | None
    """Setting that chooses the folder, such as paths.store; None without one."""

    @property
    def named(self) -> str:
        """Name and path for the beginning of a sentence."""
        return f"{self.name[0].upper()}{self.name[1:]} {self.folder}"

    @property
    def or_elsewhere(self) -> str:
        """The alternative to repairing the folder."""
        return f", or set {self.setting} to a folder elsewhere" if self.setting else ""


def temporary_files() -> StorageLocation:
    """The folder of libraries' temporary files."""
    return StorageLocation(
        "the folder of temporary files", Path(tempfile.gettempdir()), "the environment variable TMPDIR"
    )


def output_place(folder: Path) -> StorageLocation:
    """The directory of a run or of a sweep."""
    return StorageLocation("the output folder", folder.absolute(), "paths.output")


class LackingRoom(OSError):
    """There is no room for a file whose size is known.

    Args:
        error: the error that tells it.
        file: the file that was to be written.
        needed: bytes.
    """

    def __init__(self, error: OSError, file: Path, needed: int):
        super().__init__(error.errno, error.strerror, str(file))
        self.needed = needed


@contextmanager
def explain_storage_errors(place: StorageLocation) -> Iterator[None]:
    """Turn errors of the file system into sentences, which name the place unless the error itself names another.

    Raises:
        UserError: for what is raised inside by a disk that is full, a quota, a file system without locks and the like.
    """
    try:
        yield
    except Exception as error:
        sentence = storage_sentence(error, place)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def storage_sentence(error: BaseException, place: StorageLocation | None = None) -> str | None:
    """The sentence that explains an error of the file system; None for any other error.

    Args:
        error: as raised, by whatever library.
        place: folder that was being written to; None if unknown.
    """
    if isinstance(error, UserError):  # explained already
        return None
    number = error_number(error)
    if number is None:
        return storage_sentence(error.__cause__, place) if error.__cause__ else None
    path = failing_path(error)
    where = failing_place(path, number, place)
    if where is None:
        return None
    said = os.strerror(number) if number else first_line(error)
    at = f", at {shortened(path.name, LONGEST_VALUE)}" if path and path != where.folder else ""
    return f"{where.named} {_what_to_do(number, f'({said}{at})', where, error)}"


def error_number(error: BaseException) -> int | None:
    """The number of an error of the file system; 0: a file was cut short, nobody knows why; None: another error."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in KNOWN else None
    message = str(error)
    if found := IN_WORDS.search(message):
        number = int(found[1] or found[2])
        return number if number in KNOWN else None
    for number in NO_ROOM:
        if os.strerror(number) in message:
            return number
    return 0 if CUT_SHORT.search(message) else None


def failing_path(error: BaseException) -> Path | None:
    """The file or folder that the error names; of two, that which was to be written."""
    if not isinstance(error, OSError):
        return None
    name = error.filename2 or error.filename
    return Path(os.fsdecode(name)).absolute() if isinstance(name, str | bytes) else None


def failing_place(path: Path | None, number: int, place: StorageLocation | None) -> StorageLocation | None:
    """The place of an error: the place itself, the folder of temporary files, or the folder of the path."""
    temporary = temporary_files()
    if path:
        if place and path.is_relative_to(place.folder):
            return place
        if path.is_relative_to(temporary.folder) and number in NO_ROOM:
            return temporary
        return StorageLocation("the folder", path.parent, None)
    if number in (0, errno.ENOSPC) and place and _is_full(temporary.folder) and not _is_full(place.folder):
        return temporary
    return place


def _what_to_do(number: int, said: str, place: StorageLocation, error: BaseException) -> str:
    if number == errno.EFBIG or (number == 0 and size_limit() is not None):
        limit = size_limit()
        allowed = "its file system allows" if limit is None else f"{as_size(limit)}, this process's limit (ulimit -f)"
        return f"can't take a file larger than {allowed} {said}: raise the limit{place.or_elsewhere}; {AGAIN}."
    if number in NO_ROOM or number == 0:
        used_up = "has used up its disk quota" if number == errno.EDQUOT else "has no room left"
        return f"{used_up} {said}{_needed_and_free(error, place)}: make room there{place.or_elsewhere}; {AGAIN}."
    if number in NO_LOCKS:
        return f"is on a file system without file locks {said}: have it mounted with locks{place.or_elsewhere}."
    if number in FAILED:
        return f"has failed {said}: check its disk or its connection; {AGAIN}."
    if number in TOO_MANY:
        return f"can't be used {said}: raise the limit of open files (ulimit -n); {AGAIN}."
    link = broken_link(failing_path(error) or place.folder)
    mend = f"{link} is a broken symbolic link, repair it" if link else "check what is there and who may use it"
    return f"can't be written or read {said}: {mend}{place.or_elsewhere}."


def _needed_and_free(error: BaseException, place: StorageLocation) -> str:
    free = free_bytes(place.folder)
    sizes = [f"{as_size(error.needed)} are needed"] if isinstance(error, LackingRoom) else []
    sizes += [f"{as_size(free)} are free"] if free is not None else []
    return "".join([", where "] * bool(sizes)) + " and ".join(sizes)


def broken_link(path: Path) -> Path | None:
    """A symbolic link on the way to a path that leads nowhere, or in a circle."""
    for step in (*reversed(path.parents), path):
        if os.path.islink(step) and not os.path.exists(step):  # noqa: PTH110, PTH114  # pathlib raises for circles
            return step
    return None


def free_bytes(folder: Path) -> int | None:
    """Room that is left for this user; None where that can't be known."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _is_full(folder: Path) -> bool:
    free = free_bytes(folder)
    return free is not None and free < 2**20


def size_limit() -> int | None:
    """Bytes that a file of this process may have; None: any number."""
    if resource is None:
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
