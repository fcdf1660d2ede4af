"""Axes of a chart in SVG: scales, ticks and the frame that curves are drawn into."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from secmi_exp.reporting.page.markup import Html, element, joined

WIDTH, HEIGHT = 560, 460
LEFT, RIGHT, TOP, BOTTOM = 68, 546, 12, 402
"""Sides of the frame in a picture of that size."""
COLOURS = 8
"""Of curves, as the stylesheet has them."""
TICK = 4
"""Between a tick and its label, in units of the picture."""


@dataclass(frozen=True)
class Axis:
    """Values to places along one side of the picture."""

    low: float
    high: float
    start: float
    """Place of the lowest value."""
    end: float
    logarithmic: bool = False
    about: int = 5
    """Ticks wanted on a linear axis."""

    def __call__(self, value: float) -> float:
        """The place of a value; what lies beyond the axis comes to its end.

        >>> Axis(0.01, 1.0, 0.0, 100.0, logarithmic=True)(0.1), Axis(0.0, 1.0, 100.0, 0.0)(2.0)
        (50.0, 0.0)
        """
        low, high, value = (self._scaled(each) for each in (self.low, self.high, min(max(value, self.low), self.high)))
        return round(self.start + (self.end - self.start) * (value - low) / (high - low), 1)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def ticks(self) -> list[float]:
        """Round values within the axis.

        >>> Axis(0.0, 1.0, 0, 1).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        >>> Axis(0.004, 1.0, 0, 1, logarithmic=True).ticks()
        [0.01, 0.1, 1.0]
        """
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for digits in ((1,), (1, 3), (1, 2, 5)):
                ticks = self._within(float(f"{digit}e{decade}") for decade in decades for digit in digits)
                if len(ticks) >= 3:
                    return ticks
            return ticks
        rough = (self.high - self.low) / self.about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * 0.999)
        return self._within(number * step for number in range(math.ceil(self.low / step), int(self.high / step) + 2))

    def _within(self, values: Iterable[float]) -> list[float]:
        slack = 1e-9 * abs(self.high)
        return [float(f"{value:.12g}") for value in values if self.low - slack <= value <= self.high + slack]


@dataclass(frozen=True)
class Frame:
    """The area between two axes."""

    x: Axis
    y: Axis

    def markup(self, xlabel: str, ylabel: str) -> Html:
        """Grid, labelled ticks, and what the axes show; an axis without a label has no ticks either."""
        x, y, parts = self.x, self.y, []
        for value in x.ticks() if xlabel else []:
            parts.append(_line("grid", x(value), y.start, x(value), y.end))
            parts.append(_label(_short(value), x(value), y.start + TICK, "tick below"))
        for value in y.ticks() if ylabel else []:
            parts.append(_line("grid", x.start, y(value), x.end, y(value)))
            parts.append(_label(_short(value), x.start - TICK, y(value), "tick left"))
        parts.append(_line("axis", x.start, y.start, x.end, y.start))
        if xlabel:
            parts.append(_label(xlabel, (x.start + x.end) / 2, y.start + 34, "label"))
        if ylabel:
            middle = (y.start + y.end) / 2
            parts.append(_label(ylabel, 16, middle, "label", transform=f"rotate(-90 16 {middle:g})"))
        return joined(parts)

    def polyline(self, points: Iterable[Sequence[float]]) -> str:
        """The ``d`` of a path through some points."""
        return "M" + "L".join(f"{self.x(x):g} {self.y(y):g}" for x, y in points)

    def stairs(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        """The ``d`` of a staircase that goes to the next x before it goes to its y."""
        steps = "".join(f"H{self.x(x):g}V{self.y(y):g}" for x, y in zip(xs[1:], ys[1:], strict=True))
        return f"M{self.x(xs[0]):g} {self.y(ys[0]):g}{steps}"


def picture(identity: str, width: int, height: int, title: str, description: str, *content: Html) -> Html:
    """An SVG that a screen reader reads as one image with a title and a description."""
    names = {"title": f"{identity}-title", "desc": f"{identity}-desc"}
    return element(
        "svg",
        element("title", title, id=names["title"]),
        element("desc", description, id=names["desc"]),
        *content,
        id=identity,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_labelledby=" ".join(names.values()),
    )


def _short(value: float) -> str:
    """A tick's label, such as 0.001, 1e-04 and 12k."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Html:
    return element("path", class_=kind, d=f"M{x1:g} {y1:g}L{x2:g} {y2:g}")


def _label(text: str, x: float, y: float, kind: str, transform: str | None = None) -> Html:
    return element("text", text, class_=kind, x=f"{x:g}", y=f"{y:g}", transform=transform)
