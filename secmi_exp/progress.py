"""The project's progress bar, on standard error: how far a long piece of work is, and how long it will still take."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar(*, shown: bool = True) -> Progress:
    """A bar that redraws itself a few times a second, however often it is advanced."""
    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[metrics]}", markup=False),
        console=Console(stderr=True), disable=not shown, refresh_per_second=4,
    )  # fmt: skip
