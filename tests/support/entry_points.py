"""Installed packages are searched for plugins once a process: Lightning reads all their metadata for every trainer."""

from functools import cache
from importlib import metadata


def search_once() -> None:
    """Keep what is found; call it before a module imports the function."""
    metadata.entry_points = cache(metadata.entry_points)  # type: ignore[assignment]
