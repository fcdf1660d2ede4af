"""The figures of a sweep: AUC over one or two settings, validation AUC of a search, and leak against quality."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from secmi_exp.evaluation.scored import Floats
from secmi_exp.reporting.drawing import (
    COLOURS,
    NEUTRAL,
    draws_or_logs,
    figure_with_axes,
    remove_box,
    single_axes,
    use_log_scale,
)
from secmi_exp.reporting.point_labels import Point, draw_point, label_points
from secmi_exp.reporting.results_file import UNRESOLVED, Estimate
from secmi_exp.reporting.run_folders import FinishedRun, swept_settings
from secmi_exp.reporting.table_files import TableRow

METRICS = {"auc": "AUC", "asr": "ASR"}
"""Metrics of curves and intervals; maps show the first."""
QUALITY = {
    "denoising_loss": "denoising loss on hold-outs",
    "fid": "FID of samples to hold-outs",
    "kernel_distance": "kernel distance of samples to hold-outs (pixels)",
}
"""Columns of summary.csv that measure a target's quality; less is better."""


@draws_or_logs
def draw_sweep(path: Path, rows: Sequence[TableRow], swept: Sequence[str]) -> bool:
    """Draw AUC and ASR over the swept settings: a curve, intervals side by side, or for two settings a map.

    Args:
        path: the PNG.
        rows: rows of summary.csv, no two with the same settings.
        swept: the settings in which the jobs differ.

    Returns:
        Whether anything was drawn: not without an attack, nor over more than two settings.
    """
    rows = [row for row in rows if Estimate.from_row(row, "auc").value is not None]
    if len(rows) < 2 or len(swept) not in (1, 2):
        return False
    if len(swept) == 2:
        _draw_map(path, rows, swept)
        return True
    values = _numbers(rows, swept[0])
    with figure_with_axes(path, (8.6, 3.8), columns=2, sharey=True) as (_, panels):
        for axes, (metric, label) in zip(panels, METRICS.items(), strict=True):
            estimates = [Estimate.from_row(row, metric) for row in rows]
            if values is None:
                _draw_intervals(axes, [row.get(swept[0], "") for row in rows], estimates)
            else:
                draw_curve(axes, values, estimates, COLOURS[0])
                axes.set_xlabel(swept[0])
                if _spans_decades(values):
                    use_log_scale(axes)
            axes.set_title(f"{label} [95% interval]", fontsize=10)
            _mark_chance(axes)
    return True


@draws_or_logs
def draw_search(path: Path, ranked: Sequence[FinishedRun]) -> bool:
    """Draw validation AUC over each of the settings that were tried, a point for each job.

    Args:
        path: the PNG.
        ranked: jobs with a validation AUC, the best first; several may have the same settings.

    Returns:
        Whether anything was drawn: not if all jobs have the same settings.
    """
    settings = swept_settings([run.overrides for run in ranked])
    if not settings:
        return False
    auc = _column([run.results.validation.estimate("auc") for run in ranked if run.results.validation], 0)
    size = 1.6 + 3.4 * len(settings), 3.8
    with figure_with_axes(path, size, columns=len(settings), sharey=True) as (figure, panels):
        for axes, name in zip(panels, settings, strict=True):
            values = _numbers([run.overrides for run in ranked], name)
            if values is None:
                levels = sorted({run.overrides.get(name, "") for run in ranked})
                values = [float(levels.index(run.overrides.get(name, ""))) for run in ranked]
                axes.set_xticks(range(len(levels)), levels, rotation=30, ha="right")
            elif _spans_decades(values):
                use_log_scale(axes)
            axes.plot(values, auc, "o", color=COLOURS[0], alpha=0.5, label="job")
            axes.plot(values[:1], auc[:1], "D", color=COLOURS[1], label=f"job {ranked[0].shown}, chosen")
            axes.set_xlabel(name)
            _mark_chance(axes)
        panels[0].set_ylabel("validation AUC")
        panels[-1].legend(fontsize="small", frameon=False)
        figure.suptitle("AUC on attack-train images that nothing was fitted on", fontsize=10)
    return True


@draws_or_logs
def draw_tradeoff(path: Path, rows: Sequence[TableRow], swept: Sequence[str]) -> bool:
    """Draw AUC against each measure of quality, a point for each job: the best targets lie lower left.

    Args:
        path: the PNG.
        rows: rows of summary.csv.
        swept: the settings in which the jobs differ, which label the points.

    Returns:
        Whether anything was drawn: not without two jobs that have an attack and a measured quality.
    """
    rows = [row for row in rows if Estimate.from_row(row, "auc").value is not None]
    measures = [name for name in QUALITY if sum(Estimate.from_row(row, name).value is not None for row in rows) > 1]
    if not measures:
        return False
    size = 4.6 * len(measures), 4.2
    with figure_with_axes(path, size, columns=len(measures), sharey=True) as (figure, panels):
        points = {
            name: [
                point
                for colour, row in zip(cycle(COLOURS), rows, strict=False)
                if (point := _point(name, row, swept, colour))
            ]
            for name in measures
        }
        for axes, name in zip(panels, measures, strict=True):
            _mark_chance(axes)
            axes.set_xlabel(QUALITY[name])
            for point in points[name]:
                draw_point(axes, point)
        panels[0].set_ylabel("AUC of the attack [95% interval]")
        for axes, name in zip(panels, measures, strict=True):
            label_points(figure, axes, points[name])
    return True


def draw_curve(axes: Axes, values: Sequence[float], estimates: Sequence[Estimate], colour: str) -> None:
    """Draw estimates as a curve with the band of their intervals."""
    order = np.argsort(values)
    x, (y, low, high) = np.array(values)[order], (_column(estimates, place)[order] for place in range(3))
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, y, color=colour, marker="o", markersize=4)


def _numbers(rows: Sequence[TableRow], name: str) -> list[float] | None:
    """Return a setting's values, or None unless all are numbers."""
    try:
        return [float(row[name]) for row in rows]
    except (KeyError, ValueError):
        return None


def _spans_decades(values: Sequence[float]) -> bool:
    """Return whether a setting's values need a logarithmic axis.

    >>> _spans_decades([0.001, 0.01, 0.1]), _spans_decades([10, 20, 100]), _spans_decades([0, 1, 1000])
    (True, False, False)
    """
    return len(values) > 2 and min(values) > 0 and max(values) / min(values) >= 30


def _mark_chance(axes: Axes) -> None:
    remove_box(axes)
    axes.axhline(0.5, color=NEUTRAL, linestyle=":", linewidth=1)


def _draw_intervals(axes: Axes, names: Sequence[str], estimates: Sequence[Estimate]) -> None:
    places = np.arange(len(names))
    y, low, high = (_column(estimates, place) for place in range(3))
    axes.vlines(places, low, high, color=COLOURS[0], linewidth=2)
    axes.plot(places, y, "o", color=COLOURS[0])
    axes.set_xticks(places, names, rotation=30, ha="right")
    axes.set_xlim(-0.5, len(names) - 0.5)


def _draw_map(path: Path, rows: Sequence[TableRow], swept: Sequence[str]) -> None:
    """Draw AUC as a colour and a number in each cell, the first setting downwards."""
    levels = []
    for name in swept:
        values = list(dict.fromkeys(row.get(name, "") for row in rows))
        levels.append(sorted(values, key=float) if _numbers(rows, name) is not None else values)
    down, across = levels
    cells = {tuple(row.get(name, "") for name in swept): Estimate.from_row(row, "auc") for row in rows}
    auc = np.array([_column([cells.get((first, second), UNRESOLVED) for second in across], 0) for first in down])
    labels = {"xlabel": swept[1], "ylabel": swept[0], "title": "AUC"}
    with single_axes(path, (1.5 + 1.2 * len(across), 1.2 + 0.6 * len(down)), **labels) as (figure, axes):
        axes.spines[["top", "right"]].set_visible(True)
        image = axes.imshow(auc, cmap="cividis", aspect="auto", vmin=0.5, vmax=1.0)
        for (i, j), value in np.ndenumerate(auc):
            if np.isfinite(value):
                axes.text(j, i, f"{value:.3f}", ha="center", va="center", color="black" if value > 0.75 else "white")
        axes.set_xticks(np.arange(len(across)), across)
        axes.set_yticks(np.arange(len(down)), down)
        figure.colorbar(image, ax=axes)


def _point(measure: str, row: TableRow, swept: Sequence[str], colour: str) -> Point | None:
    """Return a job's point, unless it lacks the measure."""
    x, y = Estimate.from_row(row, measure), Estimate.from_row(row, "auc")
    if x.value is None:
        return None
    x_interval = (x.low, x.high) if x.low is not None and x.high is not None else None
    return Point(", ".join(str(row.get(name, "")) for name in swept), x.value, y, colour, x_interval)


def _column(estimates: Sequence[Estimate], place: int) -> Floats:
    """Return the values, or the ends of the intervals, of estimates; NaN where unresolved."""
    return np.array([np.nan if each[place] is None else each[place] for each in estimates], dtype=np.float64)
