"""What a run prints on standard output, with names as they are."""

import io
import os
import sys
from typing import Any

from rich.console import Console

from secmi_exp.errors import UserError

FILE_WIDTH = 200
"""Characters of a line where there is no terminal, as in CI, and COLUMNS doesn't say; rich would take 80."""


class StandardOutput(Console):
    """Reads neither ``[b]`` nor ``:bug:`` as markup, and tells in a sentence where nothing more can be written."""

    def __init__(self) -> None:
        limited = "COLUMNS" in os.environ or any(map(os.isatty, (0, 1, 2)))
        width = None if limited else FILE_WIDTH
        super().__init__(file=sys.stdout, markup=False, emoji=False, highlight=False, width=width)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does.

        Raises:
            UserError: where it goes to a file whose disk is full, or the like.
        """
        try:
            super().print(*objects, **options)
        except BrokenPipeError:
            raise
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would fail on it at its end
            raise UserError(
                f"Standard output can't be written ({error.strerror}): send it elsewhere; what was computed is kept."
            ) from error


def terminal() -> Console:
    """Return standard output, where what the terminal's encoding lacks is escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return StandardOutput()
