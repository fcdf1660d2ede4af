"""What all figures share: colours, axes without a display, and a failure that costs the figure alone.

No figure goes through pyplot, which would load the backend of whatever this process was started from.
"""

import functools
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray

from secmi_exp.errors import first_line

log = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")

COLOURS = ("#0072b2", "#c84e00", "#00795b", "#b0447f", "#7a5f00", "#5146b8", "#1a2027", "#a4260f")
"""Okabe and Ito's, darkened until each has a contrast of 3:1 to white; the page's stylesheet has them as c0 to c7."""
MEMBER, HOLDOUT = COLOURS[:2]
NEUTRAL, RULE, CHANCE = "#555555", "#e5e5e5", "#999999"
STYLES: tuple[str | tuple[float, tuple[float, ...]], ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
"""Lines of the first eight entries, of the next eight, and so on."""
DPI = 150
"""Pixels an inch."""
MOST_DISTINCT = len(COLOURS) * len(STYLES)
"""Entries that colour and style tell apart."""


def plain_text() -> AbstractContextManager[None]:
    """Draw text as it is: a "$" in a name begins no formula."""
    return rc_context({"text.parse_math": False, "text.usetex": False})


class Drawing(Figure):
    """A figure that notebooks show, whatever they know of matplotlib; it is drawn without a display."""

    def _repr_png_(self) -> bytes:
        FigureCanvasAgg(self)
        file = io.BytesIO()
        with plain_text():
            self.savefig(file, dpi=DPI, format="png")
        return file.getvalue()


@contextmanager
def figure_with_axes(
    path: Path, size: tuple[float, float], columns: int = 1, *, sharey: bool = False
) -> Iterator[tuple[Figure, NDArray[np.object_]]]:
    """Create a figure, and save it when the context ends.

    Args:
        path: the PNG.
        size: width and height in inches.
        columns: number of axes, side by side.
        sharey: whether all axes have the same y axis.

    Returns:
        The figure and its axes, [columns].
    """
    with plain_text():
        layout = ConstrainedLayoutEngine()
        figure = Figure(size, layout=layout)
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(1, columns, sharey=sharey, squeeze=False)[0]
        save(figure, layout, path)


def save(figure: Figure, layout: ConstrainedLayoutEngine, path: Path) -> None:
    """Lay out a figure, and write it as a PNG."""
    figure.set_dpi(DPI)
    layout.execute(figure)
    figure.set_layout_engine(None)  # else savefig draws everything twice, first for the layout
    figure.savefig(path, dpi=DPI)


@contextmanager
def single_axes(path: Path, size: tuple[float, float] = (5.4, 4.2), **labels: str) -> Iterator[tuple[Figure, Axes]]:
    """Create a figure with one pair of axes without a box; ``labels`` are title, xlabel and ylabel."""
    with figure_with_axes(path, size) as (figure, (axes,)):
        remove_box(axes)
        axes.set(**labels)
        yield figure, axes


def remove_box(axes: Axes) -> None:
    """Leave only the left and the bottom line."""
    axes.spines[["top", "right"]].set_visible(False)


class _PlainNumbers(LogFormatter):
    """Labels the same ticks as matplotlib, by a number instead of a formula."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def use_log_scale(axes: Axes, *, y: bool = False) -> None:
    """Make the x axis logarithmic, or both."""
    for axis in [axes.xaxis] + [axes.yaxis] * y:
        (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
        axis.set_major_formatter(_PlainNumbers())
        axis.set_minor_formatter(_PlainNumbers())


def log_ticks(low: float, high: float) -> list[float]:
    """Return round values: decades, or where these are fewer than three, some values between them.

    >>> log_ticks(0.004, 1.0), log_ticks(0.2, 1.0)
    ([0.01, 0.1, 1.0], [0.2, 0.5, 1.0])
    """
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5)):
        candidates = (float(f"{digit}e{decade}") for decade in decades for digit in digits)
        ticks = [tick for tick in candidates if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(ticks) >= 3:
            break
    return ticks


def draws_or_logs(draw: Callable[Concatenate[Path, Arguments], Any]) -> Callable[Concatenate[Path, Arguments], bool]:
    """Decorate a function that draws a figure: log its failure instead of raising, and return whether it has drawn.

    Args:
        draw: takes the figure's path first; returns False if there was nothing to draw.
    """

    @functools.wraps(draw)
    def drawn(path: Path, /, *arguments: Arguments.args, **more: Arguments.kwargs) -> bool:
        try:
            return draw(path, *arguments, **more) is not False
        except Exception as error:  # matplotlib raises many kinds; and the disk may be full
            log.warning("%s is not drawn (%s: %s); the results stand.", path, type(error).__name__, first_line(error))
            path.unlink(missing_ok=True)
            return False

    return drawn
