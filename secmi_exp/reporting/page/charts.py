"""The charts of the page: ROC, histograms of scores, and AUC over timesteps."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgba
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from secmi_exp.evaluation.scored import Bools, Floats
from secmi_exp.reporting.drawing import CHANCE, COLOURS, HOLDOUT, MEMBER, RULE, STYLES, log_ticks, remove_box
from secmi_exp.reporting.page.roc_curves import RocLine
from secmi_exp.reporting.page.svg import draw_chart
from secmi_exp.reporting.page.timesteps import Series
from secmi_exp.reporting.sweep_figures import draw_curve

SIZE = (560, 460)
LEFT, RIGHT, TOP, BOTTOM = 68, 546, 12, 402
"""Sides of the area between the axes in a chart of that size; the script that reads the ROC needs them."""
BINS = 32
TEXT = COLOURS[6]


def roc_chart(lines: Sequence[RocLine], floor: float, description: str) -> Markup:
    """Draw the ROC on linear and on logarithmic axes, of which a script shows one.

    Args:
        lines: the first ones are visible at first.
        floor: the smallest rate on logarithmic axes.
        description: what the chart shows.
    """
    with draw_chart("roc", "ROC", description, SIZE, (LEFT, RIGHT, TOP, BOTTOM)) as chart:
        chart.axes.set_axis_off()
        chart.overlay = Markup('<g id="roc-cursor" hidden><path/><circle r="5"/></g>')
        for scale, attributes in (("linear", 'data-scale="linear"'), ("log", 'data-scale="log" hidden')):
            axes = chart.add_axes(scale, attributes)
            low = floor if scale == "log" else 0.0
            _prepare(axes, "false-positive rate", "true-positive rate")
            axes.set(xlim=(low, 1.0), ylim=(low, 1.0), xscale=scale, yscale=scale)
            for axis in (axes.xaxis, axes.yaxis):
                _set_ticks(axis, low, 1.0, logarithmic=scale == "log")
            chance = np.geomspace(low, 1.0, 2) if low else np.array([0.0, 1.0])
            axes.plot(chance, chance, color=CHANCE, linewidth=1, linestyle=(0, (2, 4)))
            for line in reversed(lines):
                gid = f"curve-{line.place}"
                chart.attributes[gid] = f'class="curve" data-curve="{line.place}"{"" if line.shown else " hidden"}'
                fpr, tpr = (np.maximum([0.0, *rates], low) for rates in (line.curve.fpr, line.curve.tpr))
                colour, style = COLOURS[line.colour], STYLES[line.dashes]
                axes.step(fpr, tpr, where="post", gid=gid, color=colour, linestyle=style, linewidth=2)
    return chart.svg


def histogram_chart(
    identity: str,
    title: str,
    description: str,
    xlabel: str,
    values: Floats,
    is_member: Bools,
    thresholds: Mapping[str, float],
    *,
    logarithmic: bool,
) -> Markup:
    """Draw which shares of members and of hold-outs have which values.

    Args:
        identity: the element's id.
        title: read by screen readers, as the description is.
        description: what the chart shows.
        xlabel: name of the values.
        values: [n], positive if ``logarithmic``.
        is_member: [n].
        thresholds: oracle and calibrated, as far as they are known.
        logarithmic: whether bins are even on a logarithmic axis; otherwise they cover the middle 99% of the values.
    """
    edges = np.geomspace(values.min() * 0.999, values.max() * 1.001, BINS + 1) if logarithmic else _middle(values)
    with draw_chart(identity, title, description, (340, 200), (14, 326, 10, 150)) as chart:
        axes = chart.axes
        _prepare(axes, xlabel, "")
        axes.set(yticks=[], xscale="log" if logarithmic else "linear")
        for side, colour in ((is_member, MEMBER), (~is_member, HOLDOUT)):
            counts, _ = np.histogram(np.clip(values[side], edges[0], edges[-1]), edges)
            shares = counts / np.count_nonzero(side)
            axes.stairs(shares, edges, fill=True, facecolor=to_rgba(colour, 0.35), edgecolor=colour, linewidth=1.5)
        for name, style in (("oracle", "--"), ("calibrated", ":")):
            if edges[0] <= thresholds.get(name, np.nan) <= edges[-1]:
                axes.axvline(thresholds[name], color=TEXT, linestyle=style, linewidth=1.25)
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
        _set_ticks(axes.xaxis, edges[0], edges[-1], 3, logarithmic=logarithmic)
    return chart.svg


def timestep_chart(series: Sequence[Series], description: str) -> Markup:
    """Draw AUC with its interval over t_sec, a curve for each series."""
    estimates = [estimate for each in series for estimate in each.estimates]
    lowest = min(0.5, *(end for each in estimates for end in (each.low, each.value) if end is not None))
    with draw_chart("timesteps", "AUC over t_sec", description, SIZE, (LEFT, RIGHT, TOP, BOTTOM)) as chart:
        axes = chart.axes
        _prepare(axes, "t_sec", "AUC")
        axes.axhline(0.5, color=CHANCE, linewidth=1, linestyle=(0, (2, 4)))
        for colour, each in zip(COLOURS, series, strict=False):
            draw_curve(axes, each.timesteps, each.estimates, colour)
        timesteps = [t_sec for each in series for t_sec in each.timesteps]
        axes.set(xlim=(min(timesteps), max(timesteps)), ylim=(max(0.0, lowest - 0.02), 1.0))
        for axis in (axes.xaxis, axes.yaxis):
            _set_ticks(axis, *axis.get_view_interval(), logarithmic=False)
    return chart.svg


def _prepare(axes: Axes, xlabel: str, ylabel: str) -> None:
    remove_box(axes)
    axes.set(xlabel=xlabel, ylabel=ylabel, axisbelow=True)
    axes.tick_params(left=False, bottom=False, pad=6)
    axes.grid(color=RULE, linewidth=1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(TEXT)
        axis.labelpad = 12
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set(color=CHANCE, linewidth=1)


def _set_ticks(axis: Axis, low: float, high: float, about: int = 5, *, logarithmic: bool) -> None:
    """Set round ticks within the axis; after its scale, which sets others."""
    axis.set_major_locator(
        FixedLocator(log_ticks(low, high)) if logarithmic else MaxNLocator(about, steps=[1, 2, 5, 10])
    )
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, place: int | None = None) -> str:
    """Return a tick's label, such as 0.001 and 12k."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:.12g}"


def _middle(values: Floats) -> Floats:
    """Return edges of even bins over the middle 99%, as tails may be long."""
    low, high = np.percentile(values, [0.5, 99.5])
    margin = max(float(high - low), 1e-6 * abs(float(high)), 1e-12) * 0.05
    return np.linspace(low - margin, high + margin, BINS + 1)
