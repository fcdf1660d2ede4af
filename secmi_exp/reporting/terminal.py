"""Standard output, on which names stand as they are."""

import io
import sys

from rich.console import Console


def terminal() -> Console:
    """A console that reads neither ``[b]`` nor ``:bug:`` as markup, and escapes what the terminal's encoding lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
