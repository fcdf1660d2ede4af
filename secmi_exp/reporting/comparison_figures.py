"""The figures of a comparison: ROC of all attacks, and what each AUC cost in queries."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secmi_exp.reporting.drawing import figure_with_axes, only_shown, use_log_scale
from secmi_exp.reporting.figures import NEUTRAL
from secmi_exp.reporting.jobs import read_estimate
from secmi_exp.reporting.labelled_points import Point, label_points, shortened
from secmi_exp.reporting.row_files import Row
from secmi_exp.reporting.standings import Ranking, mean_roc

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's, without the yellow that white paper swallows."""
STYLES: tuple[str | tuple[float, tuple[float, ...]], ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
MARKERS = ("o", "s", "^")
MOST_DRAWN = len(COLOURS) * len(STYLES)
"""Attacks that colour and style tell apart; of more, the best."""


@contextmanager
def _figure(path: Path, size: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    with figure_with_axes(path, size) as (figure, ((axes,),)):
        axes.spines[["top", "right"]].set_visible(False)
        yield figure, axes


@only_shown
def draw_comparison_roc(path: Path, ranking: Ranking) -> None:
    """ROC of all attacks on logarithmic axes, from the smallest rate that the samples resolve; over runs, mean TPR."""
    drawn = ranking.standings[:MOST_DRAWN]
    sides = [run.evaluated.is_member for run in ranking.contest.scorings]
    floor = min(1.0 / max(side.sum(), (~side).sum()) for side in sides)
    with _figure(path, (9.6, 5.2)) as (_, axes):
        axes.set_title(comparison_title("ROC", ranking))
        axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
        lines = []
        for place, standing in enumerate(drawn):
            fpr, tpr = mean_roc(standing.contender, floor)
            colour, style = COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS)]
            (line,) = axes.step(fpr, tpr, where="post", color=colour, linestyle=style, linewidth=1.5)
            line.set_zorder(3 - place / len(drawn))
            lines.append(line)
        chance = np.geomspace(floor, 1.0, 50)
        lines += axes.plot(chance, chance, color="#999999", linestyle="-", linewidth=0.8, zorder=1)
        use_log_scale(axes, x=True, y=True)
        axes.set(xlim=(floor, 1.0), ylim=(floor, 1.05))
        axes.grid(color="#e5e5e5", linewidth=0.6)
        axes.legend(
            lines,
            [*(f"{standing.auc}   {shortened(standing.label)}" for standing in drawn), "0.500   chance"],
            title=interval_title(ranking),
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            fontsize="small",
            title_fontsize="small",
            alignment="left",
            handlelength=2.8,
            frameon=False,
        )


@only_shown
def draw_comparison_cost(path: Path, rows: Sequence[Row], title: str, ylabel: str) -> None:
    """AUC with its interval against queries per sample, with a place of its own for attacks that never query.

    Args:
        path: of the figure.
        rows: of comparison.csv, of one contest, the best first.
        title: says what was attacked.
        ylabel: what AUC and interval are over.
    """
    drawn = rows[:MOST_DRAWN]
    with _figure(path, (8.4, 5.2)) as (figure, axes):
        axes.set_title(title)
        axes.set(xlabel="queries per sample (log scale)", ylabel=ylabel)
        places = _places(axes, [float(row["queries_per_sample"]) for row in drawn])
        points = [
            Point(row["attack"], x, read_estimate(row, "auc"), COLOURS[place % len(COLOURS)])
            for place, (x, row) in enumerate(zip(places, drawn, strict=True))
        ]
        for place, point in enumerate(points):
            value, low, high = point.y
            assert value is not None
            if low is not None and high is not None:
                x, colour = point.x, point.colour
                axes.plot([x, x], [low, high], color=colour, linewidth=1.4, alpha=0.75, solid_capstyle="butt")
            axes.plot([point.x], [value], color=point.colour, marker=MARKERS[place // len(COLOURS)], markersize=6)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high)
        if low < 0.5 < high:
            axes.axhline(0.5, color="#999999", linewidth=0.8, zorder=1)
            axes.annotate(
                "chance", (1, 0.5), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="right", va="bottom", fontsize="x-small", color=NEUTRAL,
            )  # fmt: skip
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
        label_points(figure, axes, points)


def _places(axes: Axes, queries: Sequence[float]) -> list[float]:
    """Where points stand on a logarithmic axis: none left of the rest, and equals side by side."""
    asked = [each for each in queries if each > 0]
    least, most = min(asked, default=1.0), max(asked, default=1.0)
    none = least / 2.5
    axes.set_xscale("log")
    axes.minorticks_off()
    ticks = _ticks(least, most) if asked else []
    labels = [f"{tick:g}" for tick in ticks]
    if len(asked) < len(queries):
        ticks, labels = [none, *ticks], ["0", *labels]
        axes.axvline(least / 1.6, color="#999999", linestyle=(0, (1, 3)), linewidth=0.8)
    axes.set_xticks(ticks, labels)
    left = none if len(asked) < len(queries) else least
    axes.set_xlim(left / 1.6, most * 1.8)
    times, seen, places = Counter(queries), Counter[float](), []
    width = float(np.log(most * 1.8 / left * 1.6))
    for each in queries:
        step = min(0.011, 0.08 / times[each]) * width
        places.append((each or none) * float(np.exp(step * (seen[each] - (times[each] - 1) / 2))))
        seen[each] += 1
    return places


def _ticks(least: float, most: float) -> list[float]:
    """1, 2, 5, 10 …, within the range and one beyond; decades alone for a long one."""
    steps: tuple[float, ...] = (1, 2, 5) if most / least < 500 else (1,)
    candidates = (step * 10.0**decade for decade in count(int(np.floor(np.log10(least)))) for step in steps)
    ticks: list[float] = []
    for tick in candidates:
        if tick > most * 1.8:
            break
        if tick >= least / 1.5:
            ticks.append(tick)
    return ticks


def comparison_title(subject: str, ranking: Ranking) -> str:
    """Such as "ROC: ddpm_small, digits"; says so where not all attacks are drawn."""
    total = len(ranking.standings)
    of = f" (the best {MOST_DRAWN} of {total} attacks)" if total > MOST_DRAWN else ""
    results = [run.job.results for run in ranking.contest.scorings]
    attacked = [{str(each.get(name)) for each in results} for name in ("target", "dataset")]
    told = [next(iter(names)) for names in attacked if len(names) == 1]
    told += [ranking.contest.title] if ranking.contest.title else []
    return f"{subject}: {', '.join(shortened(each) for each in told)}{of}"


def interval_title(ranking: Ranking) -> str:
    """What AUC and interval are over."""
    return "mean AUC over runs [95% interval]" if ranking.contest.repeated else "AUC [95% interval]"
