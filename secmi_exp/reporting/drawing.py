"""How figures are drawn: on no display, with names as they are, and never at the cost of what they show.

No figure goes through pyplot, which would ask for the backend of whatever this process was started from.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray

from secmi_exp.errors import first_line

log = logging.getLogger(__name__)

Drawn = ParamSpec("Drawn")


@contextmanager
def figure_with_axes(
    path: Path, size: tuple[float, float], rows: int = 1, columns: int = 1, *, sharey: bool = False
) -> Iterator[tuple[Figure, NDArray[np.object_]]]:
    """A figure that is saved when it has been drawn.

    Args:
        path: of the PNG.
        size: width and height in inches.
        rows: of axes.
        columns: of axes.
        sharey: whether all axes have the same y axis.

    Returns:
        The figure and its axes, [rows, columns].
    """
    with rc_context({"text.parse_math": False, "text.usetex": False}):  # what is in a name is no formula
        figure = Figure(size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns, sharey=sharey, squeeze=False)
        figure.savefig(path, dpi=150)


class _Plain(LogFormatter):
    """Labels the ticks that matplotlib would label on such an axis, with a number instead of a formula."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def use_log_scale(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Make axes logarithmic."""
    for axis in [axes.xaxis] * x + [axes.yaxis] * y:
        (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
        axis.set_major_formatter(_Plain())
        axis.set_minor_formatter(_Plain())


def only_shown(draw: Callable[Concatenate[Path, Drawn], Any]) -> Callable[Concatenate[Path, Drawn], bool]:
    """Make a function that draws a figure one that returns whether it did; a failure is a line in the log.

    Args:
        draw: takes the figure's path first; False: there was nothing to draw.
    """

    @functools.wraps(draw)
    def drawn(path: Path, /, *arguments: Drawn.args, **more: Drawn.kwargs) -> bool:
        try:
            return draw(path, *arguments, **more) is not False
        except Exception as error:  # whatever matplotlib raises for what can't be drawn, and a full disk
            log.warning("%s is not drawn (%s: %s); the results stand.", path, type(error).__name__, first_line(error))
            path.unlink(missing_ok=True)
            return False

    return drawn
