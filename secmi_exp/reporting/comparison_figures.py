"""The figures of a comparison: ROC of all attacks, and what each AUC cost in queries."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from secmi_exp.reporting.standings import Ranking, Standing, mean_roc

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's, without the yellow that white paper swallows."""
STYLES: tuple[str | tuple[float, tuple[float, ...]], ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
MARKERS = ("o", "s", "^")
NEUTRAL = "#555555"
MOST_DRAWN = len(COLOURS) * len(STYLES)
"""Attacks that colour and style tell apart; of more, the best."""
NEAR = 8
"""The first of a label's places, which show whose it is without a line."""
LONGEST_LABEL = 36
"""Characters in a figure; the tables have the whole."""


@contextmanager
def _figure(path: Path, size: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    yield figure, axes
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_comparison_roc(path: Path, ranking: Ranking) -> None:
    """ROC of all attacks on logarithmic axes, from the smallest rate that the samples resolve; over runs, mean TPR."""
    drawn = ranking.standings[:MOST_DRAWN]
    sides = [run.evaluated.is_member for run in ranking.contest.scorings]
    floor = min(1.0 / max(side.sum(), (~side).sum()) for side in sides)
    with _figure(path, (9.6, 5.2)) as (_, axes):
        axes.set_title(_title("ROC", ranking, drawn), parse_math=False)
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
        axes.set(xscale="log", yscale="log", xlim=(floor, 1.0), ylim=(floor, 1.05))
        axes.grid(color="#e5e5e5", linewidth=0.6)
        legend = axes.legend(
            lines,
            [*(f"{standing.auc}   {_short(standing.label)}" for standing in drawn), "0.500   chance"],
            title=_interval_title(ranking),
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            fontsize="small",
            title_fontsize="small",
            alignment="left",
            handlelength=2.8,
            frameon=False,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def draw_comparison_cost(path: Path, ranking: Ranking) -> None:
    """AUC with its interval against queries per sample, with a place of its own for attacks that never query."""
    drawn = ranking.standings[:MOST_DRAWN]
    with _figure(path, (8.4, 5.2)) as (figure, axes):
        axes.set_title(_title("AUC and its cost", ranking, drawn), parse_math=False)
        axes.set(xlabel="queries per sample (log scale)", ylabel=_interval_title(ranking))
        places = _places(axes, [standing.queries_per_sample for standing in drawn])
        for place, (x, standing) in enumerate(zip(places, drawn, strict=True)):
            value, low, high = standing.auc
            assert value is not None
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place // len(COLOURS)]
            if low is not None and high is not None:
                axes.plot([x, x], [low, high], color=colour, linewidth=1.4, alpha=0.75, solid_capstyle="butt")
            axes.plot([x], [value], color=colour, marker=marker, markersize=6)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high)
        if low < 0.5 < high:
            axes.axhline(0.5, color="#999999", linewidth=0.8, zorder=1)
            axes.annotate(
                "chance", (1, 0.5), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="right", va="bottom", fontsize="x-small", color=NEUTRAL,
            )  # fmt: skip
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
        _label_points(figure, axes, places, drawn)


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


def _label_points(figure: Figure, axes: Axes, places: Sequence[float], drawn: Sequence[Standing]) -> None:
    """Put each label beside its point, or above or below its interval, where it meets neither a label nor a point."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what was measured stays where it is
    points = [_occupied(axes, x, standing) for x, standing in zip(places, drawn, strict=True)]
    taken, inside, dpi = list(points), axes.get_window_extent(), figure.dpi
    for place, (x, standing) in enumerate(zip(places, drawn, strict=True)):
        _, height = axes.transData.transform((x, standing.auc.value or 0.0))
        ends = ((points[place].y1 - height) * 72.0 / dpi, (points[place].y0 - height) * 72.0 / dpi)
        colour, offsets = COLOURS[place % len(COLOURS)], list(_offsets(*ends))
        tried: list[tuple[float, int, Bbox]] = []
        for number, offset in enumerate(offsets):
            label = _annotate(axes, x, standing, offset, colour, led=False)
            box = label.get_window_extent().padded(1.0)
            label.remove()
            outside = box.width * box.height - _overlap(box, inside)
            tried.append((sum(_overlap(box, other) for other in taken) + 4.0 * outside, number, box))
            if tried[-1][0] == 0.0:
                break
        _, number, box = min(tried, key=lambda each: each[:2])
        _annotate(axes, x, standing, offsets[number], colour, led=number >= NEAR)
        taken.append(box)


def _offsets(above: float, below: float) -> Iterator[tuple[float, float]]:
    """Of a label from its point, in typographic points, the nearest first; 0 to the right is centred.

    Args:
        above: how far its interval reaches.
        below: the same downwards, negative.
    """
    for up in (0, 9, -9):
        yield from ((8, up), (-8, up))
    yield from ((0, above + 6), (0, below - 6))
    for beyond in (18, 30, 44, 60, 80, 100, 120):
        for right in (0, 16, -16, 40, -40):
            yield from ((right, above + beyond), (right, below - beyond))
        if beyond < 60:
            yield from ((8, beyond), (-8, beyond), (8, -beyond), (-8, -beyond))


def _annotate(
    axes: Axes, x: float, standing: Standing, offset: tuple[float, float], colour: str, *, led: bool
) -> Annotation:
    """Write a label, with a line to its point where it is led."""
    right, _ = offset
    dark = tuple(0.7 * channel for channel in to_rgb(colour))
    label = axes.annotate(
        _short(standing.label),
        (x, standing.auc.value or 0.0),
        offset,
        textcoords="offset points",
        ha="center" if right == 0 else "left" if right > 0 else "right",
        va="center",
        fontsize="small",
        color=dark,
        parse_math=False,
        zorder=5,
        arrowprops={"arrowstyle": "-", "color": dark, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4} if led else None,
    )
    label.set_path_effects([withStroke(linewidth=2.0, foreground="white")])
    return label


def _occupied(axes: Axes, x: float, standing: Standing) -> Bbox:
    """The pixels of a point and its interval."""
    ends = [(x, end) for end in standing.auc if end is not None]
    (left, bottom), (right, top) = (
        axes.transData.transform(ends).min(axis=0),
        axes.transData.transform(ends).max(axis=0),
    )
    return Bbox.from_extents(left - 7, bottom - 4, right + 7, top + 4)


def _overlap(first: Bbox, second: Bbox) -> float:
    shared = Bbox.intersection(first, second)
    return shared.width * shared.height if shared else 0.0


def _title(subject: str, ranking: Ranking, drawn: Sequence[Standing]) -> str:
    of = f" (the best {len(drawn)} of {len(ranking.standings)} attacks)" if len(drawn) < len(ranking.standings) else ""
    results = [run.job.results for run in ranking.contest.scorings]
    attacked = [{str(each.get(name)) for each in results} for name in ("target", "dataset")]
    told = [next(iter(names)) for names in attacked if len(names) == 1]
    told += [ranking.contest.title] if ranking.contest.title else []
    return f"{subject}: {', '.join(_short(each) for each in told)}{of}"


def _interval_title(ranking: Ranking) -> str:
    return "mean AUC over runs [95% interval]" if ranking.contest.repeated else "AUC [95% interval]"


def _short(label: str) -> str:
    """The end tells more than the middle."""
    half = LONGEST_LABEL // 2
    return label if len(label) <= LONGEST_LABEL else f"{label[:half]}…{label[-half + 1 :]}"
