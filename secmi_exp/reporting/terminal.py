"""What a run prints on standard output, with names as they are."""

import io
import sys

from rich.console import Console


def terminal() -> Console:
    """Return a console that reads neither ``[b]`` nor ``:bug:`` as markup, and escapes what its encoding lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
