"""Figures of matplotlib as SVG inside the page: in the page's colours, by day and by night, and in its font."""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, fromstring

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from secmi_exp.reporting.drawing import CHANCE, COLOURS, RULE

FONT_SIZE = 13
VARIABLES = {RULE: "--rule", CHANCE: "--strong-rule"} | {colour: f"--c{i}" for i, colour in enumerate(COLOURS)}
"""Colour → the variable of the stylesheet that stands for it."""
PROPERTIES = ("fill", "fill-opacity", "opacity", "stroke", "stroke-width", "stroke-dasharray")
"""Written by matplotlib as inline style, which the page's policy forbids: they become attributes."""
NOTHING = Markup()
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass
class Chart:
    """A chart that is being drawn, by `draw_chart`."""

    axes: Axes
    attributes: dict[str, str] = field(default_factory=dict)
    """An artist's gid → attributes of its paths."""
    groups: dict[str, str] = field(default_factory=dict)
    """Further axes' gid → attributes of the group with all that they show."""
    overlay: Markup = NOTHING
    """Elements above all others."""
    svg: Markup = NOTHING
    """The result."""

    def add_axes(self, gid: str, attributes: str) -> Axes:
        """Add axes in the same place, in a group of their own."""
        self.groups[gid] = attributes
        figure = self.axes.get_figure(root=True)
        assert figure
        return figure.add_axes(self.axes.get_position().bounds, gid=gid, label=gid)


@contextmanager
def draw_chart(
    identity: str, title: str, description: str, size: tuple[int, int], sides: tuple[int, int, int, int]
) -> Iterator[Chart]:
    """Create a chart, and convert it when the context ends.

    Args:
        identity: the element's id.
        title: read by screen readers, as the description is.
        description: what the chart shows.
        size: width and height in pixels.
        sides: left, right, top and bottom of the area between the axes.
    """
    (width, height), (left, right, top, bottom) = size, sides
    with rc_context({"svg.fonttype": "none", "text.parse_math": False, "font.size": FONT_SIZE, "lines.linewidth": 2}):
        figure = Figure((width / 72, height / 72))
        FigureCanvasSVG(figure)
        area = (left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height)
        chart = Chart(figure.add_axes(area))
        yield chart
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata=NO_METADATA)
    root = fromstring(file.getvalue())
    markers = {path.get("id", ""): path.get("d", "") for path in root.iter() if _tag(path) == "path"}
    chart.svg = Markup(
        '<svg id="{0}" viewBox="0 0 {1} {2}" role="img" aria-labelledby="{0}-title {0}-desc">'
        '<title id="{0}-title">{3}</title><desc id="{0}-desc">{4}</desc>{5}{6}</svg>'
    ).format(identity, width, height, title, description, Markup(_convert(root, chart, markers)), chart.overlay)


def _convert(element: Element, chart: Chart, markers: Mapping[str, str], attributes: str = "") -> str:
    """Return what an element shows as paths and texts, without ids and inline style, in the page's colours."""
    tag, gid = _tag(element), element.get("id", "")
    style = dict(pair.split(": ", 1) for pair in element.get("style", "").split("; ") if pair)
    if tag == "defs":
        return ""
    if tag == "text":
        return _text(element, style)
    if tag in ("path", "use"):
        if style.get("fill") == "none" and style.get("stroke", "none") == "none":
            return ""
        painted = "".join(f' {name}="{_in_page_colours(style[name])}"' for name in PROPERTIES if name in style)
        marker = element.get("{http://www.w3.org/1999/xlink}href", "").removeprefix("#")
        place = f' transform="translate({element.get("x")} {element.get("y")})"' if tag == "use" else ""
        return (
            f'<path d="{_compact(markers[marker] if marker else element.get("d", ""))}"{place}{painted}{attributes}/>'
        )
    if gid in chart.attributes:
        attributes = f" {chart.attributes[gid]}"
    content = "".join(_convert(child, chart, markers, attributes) for child in element)
    return f"<g {chart.groups[gid]}>{content}</g>" if gid in chart.groups else content


def _text(element: Element, style: Mapping[str, str]) -> str:
    """Return a label that keeps its place whatever its size: below the x axis, left of the y axis, or along it."""
    x, y = float(element.get("x", "0")), float(element.get("y", "0"))
    rotation = element.get("transform", "").startswith("rotate(-90")
    kind, rise = ("left", 0.36) if style.get("text-anchor") == "end" else ("below", 0.76)
    turned = f' transform="rotate(-90 {x:g} {y:g})"' if rotation else ""
    place = (
        f'class="along" x="{x:g}" y="{y:g}"' if rotation else f'class="{kind}" x="{x:g}" y="{y - rise * FONT_SIZE:.1f}"'
    )
    fill = f' fill="{_in_page_colours(style["fill"])}"' if "fill" in style else ""
    return str(Markup("<text {0}>{1}</text>").format(Markup(place + turned + fill), element.text or ""))


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _in_page_colours(value: str) -> str:
    return f"var({VARIABLES[value]})" if value in VARIABLES else value


def _compact(path: str) -> str:
    """Round the numbers of a path, and leave out its line breaks.

    >>> _compact("M 1.25 2 \\nL 3.04 4.123456 \\n")
    'M1.2 2L3 4.1'
    """
    rounded = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), path)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", " ".join(rounded.split()))
