"""Git-LFS pointers: short texts that stand in the place of large files as long as nobody has fetched them."""

from pathlib import Path

from secmi_exp.errors import UserError
from secmi_exp.files.regular import open_regular

FIRST_LINE = b"version https://git-lfs.github.com/spec/v1"
"""Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer; False where there is no file that can be read."""
    try:
        with open_regular(path) as file:
            return file.read(len(FIRST_LINE)) == FIRST_LINE
    except OSError:
        return False


def refuse_pointer(path: Path) -> None:
    """Refuse a file that was not fetched.

    Raises:
        UserError: for a pointer.
    """
    if is_pointer(path):
        raise UserError(
            f"{path} is a pointer of Git LFS in place of the file: fetch the file by `git lfs pull` in its repository."
        )
