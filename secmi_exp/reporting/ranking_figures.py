"""The figures of a ranking: the ROC of all attacks, and their AUC against their queries."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from secmi_exp.formatting import shortened
from secmi_exp.reporting.drawing import (
    CHANCE,
    COLOURS,
    MOST_DISTINCT,
    NEUTRAL,
    RULE,
    STYLES,
    draws_or_logs,
    log_ticks,
    single_axes,
    use_log_scale,
)
from secmi_exp.reporting.point_labels import LONGEST_LABEL, Point, draw_point, label_points
from secmi_exp.reporting.ranking import Ranking, mean_roc
from secmi_exp.reporting.results_file import Estimate
from secmi_exp.reporting.table_files import TableRow

MARKERS = ("o", "s", "^")


@draws_or_logs
def draw_ranking_roc(path: Path, ranking: Ranking) -> None:
    """Draw the ROC of all attacks on logarithmic axes from the smallest resolved rate; over runs, the mean TPR."""
    drawn = ranking.standings[:MOST_DISTINCT]
    sides = [scoring.evaluated.scored.is_member for scoring in ranking.contest.scorings]
    floor = min(1.0 / max(side.sum(), (~side).sum()) for side in sides)
    labels = {"title": ranking_title("ROC", ranking), "xlabel": "false-positive rate", "ylabel": "true-positive rate"}
    with single_axes(path, (9.6, 5.2), **labels) as (_, axes):
        lines = []
        for place, standing in enumerate(drawn):
            fpr, tpr = mean_roc(standing.contender, floor)
            colour, style = COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS)]
            (line,) = axes.step(fpr, tpr, where="post", color=colour, linestyle=style, linewidth=1.5)
            line.set_zorder(3 - place / len(drawn))
            lines.append(line)
        chance = np.geomspace(floor, 1.0, 50)
        lines += axes.plot(chance, chance, color=CHANCE, linestyle="-", linewidth=0.8, zorder=1)
        use_log_scale(axes, y=True)
        axes.set(xlim=(floor, 1.0), ylim=(floor, 1.05))
        axes.grid(color=RULE, linewidth=0.6)
        axes.legend(
            lines,
            [*(f"{standing.auc}   {shortened(standing.name, LONGEST_LABEL)}" for standing in drawn), "0.500   chance"],
            title=auc_label(ranking),
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            fontsize="small",
            title_fontsize="small",
            alignment="left",
            handlelength=2.8,
            frameon=False,
        )


@draws_or_logs
def draw_ranking_cost(path: Path, rows: Sequence[TableRow], title: str, ylabel: str) -> None:
    """Draw AUC with its interval against queries per sample; attacks without queries stand left of the others.

    Args:
        path: the PNG.
        rows: rows of comparison.csv of one contest, the best first.
        title: the figure's.
        ylabel: label of the AUC axis, see `auc_label`.
    """
    drawn = rows[:MOST_DISTINCT]
    labels = {"title": title, "xlabel": "queries per sample (log scale)", "ylabel": ylabel}
    with single_axes(path, (8.4, 5.2), **labels) as (figure, axes):
        places = _places(axes, [float(row["queries_per_sample"]) for row in drawn])
        points = [
            Point(row["attack"], x, Estimate.from_row(row, "auc"), COLOURS[place % len(COLOURS)])
            for place, (x, row) in enumerate(zip(places, drawn, strict=True))
        ]
        for place, point in enumerate(points):
            draw_point(axes, point, MARKERS[place // len(COLOURS)])
        low, high = axes.get_ylim()
        axes.set_ylim(low, high)
        if low < 0.5 < high:
            axes.axhline(0.5, color=CHANCE, linewidth=0.8, zorder=1)
            axes.annotate(
                "chance", (1, 0.5), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="right", va="bottom", fontsize="x-small", color=NEUTRAL,
            )  # fmt: skip
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        label_points(figure, axes, points)


def _places(axes: Axes, queries: Sequence[float]) -> list[float]:
    """Place points on a logarithmic axis: those without queries left of the rest, and equal ones side by side."""
    positive = [each for each in queries if each > 0]
    least, most = min(positive, default=1.0), max(positive, default=1.0)
    none = least / 2.5
    axes.set_xscale("log")
    axes.minorticks_off()
    ticks = log_ticks(least / 1.5, most * 1.8) if positive else []
    labels = [f"{tick:g}" for tick in ticks]
    if len(positive) < len(queries):
        ticks, labels = [none, *ticks], ["0", *labels]
        axes.axvline(least / 1.6, color=CHANCE, linestyle=(0, (1, 3)), linewidth=0.8)
    axes.set_xticks(ticks, labels)
    left = none if len(positive) < len(queries) else least
    axes.set_xlim(left / 1.6, most * 1.8)
    times, seen, places = Counter(queries), Counter[float](), []
    width = float(np.log(most * 1.8 / left * 1.6))
    for each in queries:
        step = min(0.011, 0.08 / times[each]) * width
        places.append((each or none) * float(np.exp(step * (seen[each] - (times[each] - 1) / 2))))
        seen[each] += 1
    return places


def ranking_title(subject: str, ranking: Ranking) -> str:
    """Return a title such as "ROC: ddpm_small, digits", which also says if not all attacks are drawn."""
    total = len(ranking.standings)
    of = f" (the best {MOST_DISTINCT} of {total} attacks)" if total > MOST_DISTINCT else ""
    results = [scoring.run.results for scoring in ranking.contest.scorings]
    common = [
        names.pop()
        for names in ({each.target for each in results}, {each.dataset for each in results})
        if len(names) == 1
    ]
    common += [ranking.contest.title] if ranking.contest.title else []
    return f"{subject}: {', '.join(shortened(each, LONGEST_LABEL) for each in common)}{of}"


def auc_label(ranking: Ranking) -> str:
    """Return the label of AUC and its interval: of one run, or the mean over several."""
    return "mean AUC over runs [95% interval]" if ranking.contest.repeated else "AUC [95% interval]"
