"""The figure of a sweep over one or two settings: a curve, intervals side by side, or a map."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from secmi_exp.reporting.drawing import figure_with_axes, only_shown, use_log_scale
from secmi_exp.reporting.figures import MEMBER as COLOUR
from secmi_exp.reporting.figures import NEUTRAL
from secmi_exp.reporting.jobs import Estimate, read_estimate
from secmi_exp.reporting.row_files import Row

METRICS = {"auc": "AUC", "asr": "ASR"}
"""That curves and intervals show; maps show the first."""


@only_shown
def draw_axes(path: Path, rows: Sequence[Row], swept: Sequence[str]) -> bool:
    """Draw AUC and ASR over the settings in which the jobs differ.

    Args:
        path: of the figure.
        rows: of summary.csv, no two with the same settings.
        swept: the settings: one, or two.

    Returns:
        Whether there was anything to draw: not without an attack, nor over more than two settings.
    """
    rows = [row for row in rows if read_estimate(row, "auc").value is not None]
    if len(rows) < 2 or len(swept) not in (1, 2):
        return False
    numeric = [numbers(rows, name) for name in swept]
    if len(swept) == 2:
        _draw_map(path, rows, swept, [values is not None for values in numeric])
        return True
    with figure_with_axes(path, (8.6, 3.8), columns=2, sharey=True) as (_, (panels,)):
        for axes, (metric, label) in zip(panels, METRICS.items(), strict=True):
            estimates = [read_estimate(row, metric) for row in rows]
            if numeric[0] is None:
                _draw_intervals(axes, [row.get(swept[0], "") for row in rows], estimates)
            else:
                _draw_curve(axes, numeric[0], estimates)
                axes.set_xlabel(swept[0])
            axes.set_title(f"{label} [95% interval]", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
            axes.axhline(0.5, color=NEUTRAL, linestyle=":", linewidth=1)
    return True


def numbers(rows: Sequence[Row], name: str) -> list[float] | None:
    """A setting's values, where all are numbers and distinct steps on an axis."""
    try:
        return [float(row[name]) for row in rows]
    except (KeyError, ValueError):
        return None


def is_wide(values: Sequence[float]) -> bool:
    """Whether a setting's values ask for a logarithmic axis.

    >>> is_wide([0.001, 0.01, 0.1]), is_wide([10, 20, 100]), is_wide([0, 1, 1000])
    (True, False, False)
    """
    return len(values) > 2 and min(values) > 0 and max(values) / min(values) >= 30


def _draw_curve(axes: Axes, values: list[float], estimates: list[Estimate]) -> None:
    order = np.argsort(values)
    x = np.array(values)[order]
    y, low, high = (np.array([_or_nan(each[i]) for each in estimates])[order] for i in range(3))
    axes.fill_between(x, low, high, color=COLOUR, alpha=0.2, linewidth=0)
    axes.plot(x, y, color=COLOUR, marker="o", markersize=4)
    if is_wide(values):
        use_log_scale(axes, x=True)


def _draw_intervals(axes: Axes, names: list[str], estimates: list[Estimate]) -> None:
    places = np.arange(len(names))
    y, low, high = (np.array([_or_nan(each[i]) for each in estimates]) for i in range(3))
    axes.vlines(places, low, high, color=COLOUR, linewidth=2)
    axes.plot(places, y, "o", color=COLOUR)
    axes.set_xticks(places, names, rotation=30, ha="right")
    axes.set_xlim(-0.5, len(names) - 0.5)


def _draw_map(path: Path, rows: Sequence[Row], swept: Sequence[str], numeric: list[bool]) -> None:
    """AUC as a colour and a number in each cell, the first setting downwards."""
    levels = []
    for name, is_number in zip(swept, numeric, strict=True):
        found = dict.fromkeys(row.get(name, "") for row in rows)
        levels.append(sorted(found, key=float) if is_number else list(found))
    down, across = levels
    cells = {tuple(row.get(name, "") for name in swept): read_estimate(row, "auc").value for row in rows}
    auc = np.array([[_or_nan(cells.get((first, second))) for second in across] for first in down])
    size = 1.5 + 1.2 * len(across), 1.2 + 0.6 * len(down)
    with figure_with_axes(path, size) as (figure, ((axes,),)):
        image = axes.imshow(auc, cmap="cividis", aspect="auto", vmin=0.5, vmax=1.0)
        for (i, j), value in np.ndenumerate(auc):
            if np.isfinite(value):
                axes.text(j, i, f"{value:.3f}", ha="center", va="center", color="black" if value > 0.75 else "white")
        axes.set_xticks(np.arange(len(across)), across)
        axes.set_yticks(np.arange(len(down)), down)
        axes.set(xlabel=swept[1], ylabel=swept[0], title="AUC")
        figure.colorbar(image, ax=axes)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
