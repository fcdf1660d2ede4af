"""What targets leak against what they are worth: table and figure of a sweep, over defenses say, that measured both."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from rich.table import Table
from rich.text import Text

from secmi_exp.reporting.comparison_figures import COLOURS
from secmi_exp.reporting.drawing import figure_with_axes, only_shown
from secmi_exp.reporting.figures import NEUTRAL
from secmi_exp.reporting.jobs import read_estimate
from secmi_exp.reporting.labelled_points import Point, label_points
from secmi_exp.reporting.row_files import Row

WORTH = {
    "denoising_loss": "denoising loss on hold-outs",
    "fid": "FID of samples to hold-outs",
    "kernel_distance": "kernel distance of samples to hold-outs (pixels)",
}
"""Columns of summary.csv; less is better."""


@only_shown
def draw_tradeoff(path: Path, rows: Sequence[Row], swept: Sequence[str]) -> bool:
    """Draw AUC against each measure of quality, a point for each job: the best targets lie lower left.

    Args:
        path: of the figure.
        rows: of summary.csv.
        swept: the settings in which the jobs differ, which name the points.

    Returns:
        Whether there was anything to draw: two jobs with an attack and a measured quality.
    """
    rows = [row for row in rows if read_estimate(row, "auc").value is not None]
    measures = [name for name in WORTH if _measured(rows, name) > 1]
    if not measures:
        return False
    size = 4.6 * len(measures), 4.2
    with figure_with_axes(path, size, columns=len(measures), sharey=True) as (figure, (panels,)):
        drawn = [
            [_draw_point(axes, measure, row, swept, colour) for colour, row in zip(cycle(COLOURS), rows, strict=False)]
            for axes, measure in zip(panels, measures, strict=True)
        ]
        for axes, measure in zip(panels, measures, strict=True):
            axes.spines[["top", "right"]].set_visible(False)
            axes.axhline(0.5, color=NEUTRAL, linestyle=":", linewidth=1)
            axes.set_xlabel(WORTH[measure])
        panels[0].set_ylabel("AUC of the attack [95% interval]")
        for axes, points in zip(panels, drawn, strict=True):
            label_points(figure, axes, [point for point in points if point])
    return True


def tradeoff_table(rows: Sequence[Row], swept: Sequence[str]) -> Table | None:
    """A row for each job, with leak, quality, and the privacy that was spent; None where no quality was measured.

    Args:
        rows: of summary.csv.
        swept: the settings in which the jobs differ.
    """
    if not any(_measured(rows, name) for name in WORTH):
        return None
    columns = [name for name in ("auc", *WORTH, "epsilon_spent", "epsilon_refuted") if _measured(rows, name)]
    table = Table("job", title="Leak and quality (less is better)", title_justify="left")
    for name in (*swept, *columns):
        table.add_column(Text(name.rpartition(".")[2].replace("_", " ")), no_wrap=name in columns)
    for row in rows:
        settings = (str(row.get(name, "")) for name in swept)
        table.add_row(*map(Text, (str(row["job"]), *settings, *(str(read_estimate(row, name)) for name in columns))))
    return table


def _measured(rows: Sequence[Row], name: str) -> int:
    """In how many of the jobs."""
    return sum(read_estimate(row, name).value is not None for row in rows)


def _draw_point(axes: Axes, measure: str, row: Row, swept: Sequence[str], colour: str) -> Point | None:
    """A job with both intervals, unless it lacks the measure."""
    x, y = read_estimate(row, measure), read_estimate(row, "auc")
    if x.value is None or y.value is None:
        return None
    ends = (x.low, x.high) if x.low is not None and x.high is not None else None
    if ends:
        axes.plot(ends, [y.value, y.value], color=colour, linewidth=1.2, alpha=0.7)
    if y.low is not None and y.high is not None:
        axes.plot([x.value, x.value], [y.low, y.high], color=colour, linewidth=1.2, alpha=0.7)
    axes.plot([x.value], [y.value], "o", color=colour)
    return Point(", ".join(str(row.get(name, "")) for name in swept), x.value, y, colour, ends)
