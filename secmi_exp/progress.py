"""How far a long piece of work is: a bar on a terminal and in notebooks; off terminals, a line of the log a minute."""

import logging
import sys
import time
from collections.abc import Callable
from html import escape
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from secmi_exp.deferred import Deferred
from secmi_exp.formatting import as_duration

display = Deferred("IPython.display:display")

log = logging.getLogger(__name__)

FIRST_LINE_S, LINE_EVERY_S = 15.0, 60.0
"""Seconds until the first line of the log and between lines; a line is written when a step has ended."""
EVERY_S = 0.3
"""Seconds between two states of a notebook's bar."""


def progress_bar(*, shown: bool = True) -> Progress:
    """A bar that redraws itself a few times a second, however often it is advanced."""
    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[metrics]}", markup=False),
        console=Console(stderr=True), disable=not shown, refresh_per_second=4,
    )  # fmt: skip


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, as Jupyter's are."""
    return "ipykernel" in sys.modules and sys.modules["IPython"].get_ipython() is not None


class NotebookBar:
    """A bar in a notebook, which needs no widgets: it is displayed once, and replaced a few times a second.

    Args:
        what: name of the work, such as ``Training target``.
        total: number of steps, batches or images.
        unit: name of these, such as ``steps``.
        done: number that is done at the start.
    """

    def __init__(self, what: str, total: float, unit: str, done: float):
        self.what, self.total, self.unit, self.first = what, total, unit, done
        self.done, self.metrics, self.ended = done, "", False
        self.since = self.shown = time.monotonic()
        self.handle = display(self, display_id=True)

    def update(self, done: float, metrics: str = "") -> None:
        """Show a number of steps, and figures beside it; those of before stay where none are given."""
        self.done, self.metrics = done, metrics or self.metrics
        now = time.monotonic()
        if now - self.shown >= EVERY_S:
            self.shown = now
            self.handle.update(self)

    def stop(self) -> None:
        """Leave it as it is."""
        self.ended = True
        self.handle.update(self)

    def __repr__(self) -> str:
        elapsed = time.monotonic() - self.since
        times = [as_duration(elapsed)]
        if not self.ended and self.done > self.first:
            left = elapsed * (self.total - self.done) / (self.done - self.first)
            times.append(f"{as_duration(left)} left")
        words = [*times, self.metrics] if self.metrics else times
        return f"{self.what}: {self.done:g} of {self.total:g} {self.unit}, {', '.join(words)}"

    def _repr_html_(self) -> str:
        return f'<progress value="{self.done:g}" max="{self.total:g}"></progress> {escape(repr(self))}'


class ProgressLines:
    """Writes lines of the log that say how far a piece of work is; called each step, writes one when it is due.

    Args:
        what: name of the work, such as ``Training target``.
        total: number of steps, batches or images.
        unit: name of these, such as ``steps``.
        done: number that is done at the start.
        clock: returns the time in seconds.
    """

    def __init__(
        self, what: str, total: float, unit: str, done: float = 0, clock: Callable[[], float] = time.monotonic
    ):
        self.what, self.total, self.unit, self.clock = what, total, unit, clock
        self.since = clock()
        self.due, self.done_before, self.images = self.since + FIRST_LINE_S, done, 0

    def advance(self, done: float, images: int, loss: Callable[[], float] | None = None) -> None:
        """Speed and time left are those since the line before.

        Args:
            done: number of steps, batches or images that are done.
            images: number of images since the last call.
            loss: returns the loss of the step; called when a line is due, since it may wait for the device.
        """
        self.images += images
        now = self.clock()
        if now < self.due or done <= self.done_before:  # the latter: of a step, only a part
            return
        elapsed = now - self.since
        rate, left = self.images / elapsed, (self.total - done) * elapsed / (done - self.done_before)
        log.info(
            "%s: %d of %d %s, %s%s images/s, %s left.", self.what, done, self.total, self.unit,
            f"loss {loss():.4g}, " if loss else "", f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}", as_duration(left),
        )  # fmt: skip
        self.due, self.since, self.done_before, self.images = now + LINE_EVERY_S, now, done, 0


class WorkProgress:
    """Shows how far a piece of work is until it is stopped. The arguments are those of `ProgressLines`.

    Where standard error is no terminal, the bar is printed once, at the end. Nothing at all is, unless it is ``shown``.
    """

    def __init__(self, what: str, total: float, unit: str, done: float = 0, *, shown: bool = True):
        self.notebook = NotebookBar(what, total, unit, done) if shown and in_notebook() else None
        self.bar = progress_bar(shown=shown and not self.notebook)
        watched = self.bar.console.is_interactive
        self.lines = ProgressLines(what, total, unit, done) if shown and not watched else None
        self.task = self.bar.add_task(what, total=total, completed=int(done), metrics="")
        self.bar.start()

    def advance(self, done: float, images: int, loss: Callable[[], float] | None = None) -> None:
        """See `ProgressLines.advance`."""
        self.bar.update(self.task, completed=done)
        if self.notebook:
            self.notebook.update(done)
        if self.lines:
            self.lines.advance(done, images, loss)

    def show(self, metrics: str) -> None:
        """Put figures beside the bar."""
        self.bar.update(self.task, metrics=metrics)
        if self.notebook:
            self.notebook.update(self.notebook.done, metrics)

    def stop(self) -> None:
        """Leave the bar as it is."""
        self.bar.stop()
        if self.notebook:
            self.notebook.stop()

    def __enter__(self) -> Self:
        """Stop it at the end of a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
