"""Points with intervals, and their labels, placed where they overlap neither another label nor a point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from secmi_exp.formatting import shortened
from secmi_exp.reporting.results_file import Estimate

NEAR = 8
"""Number of a label's first places, which are so near its point that no line to it is needed."""
LONGEST_LABEL = 36
"""Characters of a label; tables have the whole name."""


@dataclass(frozen=True)
class Point:
    """A point with its intervals."""

    label: str
    x: float
    y: Estimate
    colour: str
    x_interval: tuple[float, float] | None = None


def draw_point(axes: Axes, point: Point, marker: str = "o") -> None:
    """Draw a point with its intervals."""
    value, low, high = point.y
    assert value is not None
    if point.x_interval:
        axes.plot(point.x_interval, [value, value], color=point.colour, linewidth=1.2, alpha=0.7)
    if low is not None and high is not None:
        axes.plot([point.x, point.x], [low, high], color=point.colour, linewidth=1.4, alpha=0.75)
    axes.plot([point.x], [value], marker, color=point.colour, markersize=6)


def label_points(figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    """Put each label beside its point, or above or below its interval. The figure's layout can't change afterwards."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # so that nothing moves after it was measured
    upright = [_occupied(axes, point) for point in points]
    taken = upright + [_occupied_across(axes, point, point.x_interval) for point in points if point.x_interval]
    inside, dpi = axes.get_window_extent(), figure.dpi
    for point, own in zip(points, upright, strict=True):
        _, height = axes.transData.transform((point.x, point.y.value or 0.0))
        offsets = list(_offsets((own.y1 - height) * 72.0 / dpi, (own.y0 - height) * 72.0 / dpi))
        tried: list[tuple[float, int, Bbox]] = []
        for number, offset in enumerate(offsets):
            label = _annotate(axes, point, offset, led=False)
            box = label.get_window_extent().padded(1.0)
            label.remove()
            outside = box.width * box.height - _overlap(box, inside)
            tried.append((sum(_overlap(box, other) for other in taken) + 4.0 * outside, number, box))
            if tried[-1][0] == 0.0:
                break
        _, number, box = min(tried, key=lambda each: each[:2])
        _annotate(axes, point, offsets[number], led=number >= NEAR)
        taken.append(box)


def _offsets(above: float, below: float) -> Iterator[tuple[float, float]]:
    """Yield places of a label relative to its point, (right, up) in typographic points, the nearest first.

    Args:
        above: the upper end of the point's interval.
        below: the lower end, negative.
    """
    for up in (0, 9, -9):
        yield from ((8, up), (-8, up))
    yield from ((0, above + 6), (0, below - 6))
    for beyond in (18, 30, 44, 60, 80, 100, 120):
        for right in (0, 16, -16, 40, -40):
            yield from ((right, above + beyond), (right, below - beyond))
        if beyond < 60:
            yield from ((8, beyond), (-8, beyond), (8, -beyond), (-8, -beyond))


def _annotate(axes: Axes, point: Point, offset: tuple[float, float], *, led: bool) -> Annotation:
    """Write a label, centred if it is neither left nor right of its point; ``led``: with a line to it."""
    right, _ = offset
    dark = tuple(0.7 * channel for channel in to_rgb(point.colour))
    label = axes.annotate(
        shortened(point.label, LONGEST_LABEL),
        (point.x, point.y.value or 0.0),
        offset,
        textcoords="offset points",
        ha="center" if right == 0 else "left" if right > 0 else "right",
        va="center",
        fontsize="small",
        color=dark,
        zorder=5,
        arrowprops={"arrowstyle": "-", "color": dark, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4} if led else None,
    )
    label.set_path_effects([withStroke(linewidth=2.0, foreground="white")])
    return label


def _occupied_across(axes: Axes, point: Point, ends: tuple[float, float]) -> Bbox:
    """Return the pixels of a horizontal interval."""
    (left, y), (right, _) = axes.transData.transform([(end, point.y.value or 0.0) for end in ends])
    return Bbox.from_extents(left - 4, y - 4, right + 4, y + 4)


def _occupied(axes: Axes, point: Point) -> Bbox:
    """Return the pixels of a point and its vertical interval."""
    ends = axes.transData.transform([(point.x, end) for end in point.y if end is not None])
    (left, bottom), (right, top) = ends.min(axis=0), ends.max(axis=0)
    return Bbox.from_extents(left - 7, bottom - 4, right + 7, top + 4)


def _overlap(first: Bbox, second: Bbox) -> float:
    shared = Bbox.intersection(first, second)
    return shared.width * shared.height if shared else 0.0
