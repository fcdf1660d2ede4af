"""The figures of one run."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from secmi_exp.evaluation.collection_size import POWER, PowerCurve
from secmi_exp.evaluation.delong import auc_interval
from secmi_exp.evaluation.exposure import percentiles
from secmi_exp.evaluation.judge import Judgement
from secmi_exp.evaluation.relative_t_error import RelativeTError
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Scored
from secmi_exp.reporting.drawing import (
    COLOURS,
    HOLDOUT,
    MEMBER,
    NEUTRAL,
    Drawing,
    draws_or_logs,
    figure_with_axes,
    remove_box,
    single_axes,
    use_log_scale,
)

Floats = NDArray[np.float64]

SHOWN = 8
"""Images of each kind in the sheet of the most and the least exposed, and of a group that looks alike."""
GROUPS = 6
"""Groups of images that look alike, in their sheet."""
ROW = 1.3
"""Height of a sheet's row with its texts, in units of an image's place."""


@draws_or_logs
def draw_roc(path: Path, scored: Mapping[str, Scored], subject: str, *, logarithmic: bool) -> None:
    """Draw the ROC of each scorer; on logarithmic axes from the smallest FPR that the hold-outs resolve."""
    with single_axes(path, title=f"ROC: {subject}") as (_, axes):
        roc_on(axes, scored, logarithmic=logarithmic)


def roc_on(axes: Axes, scored: Mapping[str, Scored], *, logarithmic: bool) -> None:
    """Put the curves on axes."""
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
    floor = 1.0
    for colour, (name, each) in zip(cycle(COLOURS), scored.items(), strict=False):
        roc = Roc.from_scores(each.scores, each.is_member)
        low, high = auc_interval(each.scores, each.is_member)
        label = f"AUC {roc.auc:.3f} [{low:.3f}, {high:.3f}]   {name}"
        axes.step(roc.fpr, roc.tpr, where="post", color=colour, label=label)
        floor = min(floor, 1.0 / max(each.is_member.sum(), (~each.is_member).sum()))
    chance = np.geomspace(floor, 1.0, 50) if logarithmic else np.array([0.0, 1.0])
    axes.plot(chance, chance, color=NEUTRAL, linestyle=":", linewidth=1, label="chance")
    if logarithmic:
        use_log_scale(axes, y=True)
        axes.set(xlim=(floor, 1.0), ylim=(floor, 1.05))
    else:
        axes.set(xlim=(-0.01, 1.0), ylim=(0.0, 1.01), aspect="equal")
    axes.legend(loc="lower right", fontsize="small", frameon=False)


@draws_or_logs
def draw_t_errors(path: Path, t_errors: Scored, subject: str, t_sec: int) -> None:
    """Draw the t-errors of both sides with the oracle threshold, at or below which an image is called a member.

    Args:
        path: the PNG.
        t_errors: the "scores" are t-errors.
        subject: target and dataset.
        t_sec: the timestep.
    """
    title, xlabel = f"t-errors at t_sec = {t_sec}: {subject}", "t-error (sum of squares, log scale)"
    threshold, _ = Roc.from_scores(-t_errors.scores, t_errors.is_member).best_threshold()
    with single_axes(path, title=title, xlabel=xlabel, ylabel="images") as (_, axes):
        positive = np.maximum(t_errors.scores, np.finfo(np.float32).tiny)
        bins = np.geomspace(positive.min() * 0.999, positive.max() * 1.001, 41)
        _two_sides(axes, positive, t_errors.is_member, bins)
        axes.axvline(-threshold, color=NEUTRAL, linestyle="--", linewidth=1, label="oracle threshold")
        use_log_scale(axes)
        axes.legend(fontsize="small", frameon=False)


@draws_or_logs
def draw_scores(path: Path, name: str, scored: Scored, judged: Judgement, subject: str) -> None:
    """Draw the membership scores of both sides with both thresholds; the middle 99%, as tails may be long."""
    with single_axes(path, title=f"{name} scores: {subject}") as (_, axes):
        scores_on(axes, scored, judged.thresholds)


def scores_on(axes: Axes, scored: Scored, thresholds: Mapping[str, float]) -> None:
    """Put the histograms on axes."""
    axes.set(xlabel="membership score", ylabel="images")
    low, high = np.percentile(scored.scores, [0.5, 99.5])
    margin = max(high - low, 1e-12) * 0.05
    _two_sides(axes, scored.scores, scored.is_member, np.linspace(low - margin, high + margin, 41))
    for threshold, style in (("oracle", "--"), ("calibrated", ":")):
        if np.isfinite(thresholds.get(threshold, np.nan)):
            axes.axvline(thresholds[threshold], color=NEUTRAL, linestyle=style, linewidth=1, label=threshold)
    axes.legend(fontsize="small", frameon=False)


def plot_run(name: str, scored: Scored, thresholds: Mapping[str, float], subject: str) -> Drawing:
    """ROC and scores of one scorer side by side, in a figure that is no file.

    Args:
        name: of the scorer.
        scored: the evaluation part.
        thresholds: ``oracle`` and ``calibrated``, where there are any.
        subject: target and dataset.
    """
    figure = Drawing((9.0, 4.0), layout="constrained")
    figure.suptitle(f"{name}: {subject}", fontsize=10, parse_math=False)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        remove_box(axes)
    roc_on(left, {name: scored}, logarithmic=False)
    scores_on(right, scored, thresholds)
    right.locator_params(axis="x", nbins=5)
    return figure


def _two_sides(axes: Axes, values: Floats, is_member: NDArray[np.bool_], bins: Floats) -> None:
    clipped = np.clip(values, bins[0], bins[-1])
    for side, colour, label in ((is_member, MEMBER, "members"), (~is_member, HOLDOUT, "hold-outs")):
        axes.hist(clipped[side], bins=bins.tolist(), color=colour, alpha=0.55, label=label)


@draws_or_logs
def draw_relative_t_error(path: Path, relative: RelativeTError, t_sec: int, subject: str) -> None:
    """Draw the paper's figure 2: t-errors of hold-outs relative to members over timesteps, with t_sec marked."""
    title, ylabel = f"Relative t-error: {subject}", "mean t-error, hold-outs / members"
    with single_axes(path, title=title, xlabel="t_sec", ylabel=ylabel) as (_, axes):
        axes.axhline(1.0, color=NEUTRAL, linestyle=":", linewidth=1)
        x, low, high = relative.timesteps, relative.low, relative.high
        axes.fill_between(x, low, high, color=HOLDOUT, alpha=0.2, linewidth=0, label="95% interval")
        axes.plot(x, relative.ratio, color=HOLDOUT, marker="o", markersize=4)
        axes.axvline(t_sec, color=NEUTRAL, linestyle="--", linewidth=1, label=f"t_sec = {t_sec}")
        axes.legend(fontsize="small", frameon=False)


@draws_or_logs
def draw_power(path: Path, curve: PowerCurve, subject: str) -> None:
    """Draw the power of the test on a collection over its size, with the size that reaches 80%."""
    title, xlabel = f"Images needed: {subject}", "images of the collection, and as many hold-outs"
    with single_axes(path, title=title, xlabel=xlabel, ylabel="power at a level of 5%") as (_, axes):
        axes.fill_between(
            curve.sizes, curve.low, curve.high, color=MEMBER, alpha=0.2, linewidth=0, label="95% interval"
        )
        axes.plot(curve.sizes, curve.power, color=MEMBER)
        axes.axhline(POWER, color=NEUTRAL, linestyle=":", linewidth=1)
        if curve.needed.images <= curve.sizes[-1]:
            label = f"{curve.needed.images:.0f} images"
            axes.axvline(curve.needed.images, color=NEUTRAL, linestyle="--", linewidth=1, label=label)
        use_log_scale(axes)
        axes.set(ylim=(0.0, 1.02))
        axes.legend(loc="lower right", fontsize="small", frameon=False)


def extremes(
    scores: Floats, judged: NDArray[np.bool_], is_member: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Floats]:
    """Choose the judged rows with the highest and the lowest scores.

    Returns:
        Rows, highest first, and their percentiles among the hold-outs' scores, both [at most 2 · SHOWN].
    """
    rows = np.flatnonzero(judged)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    count = min(SHOWN, len(rows) // 2)
    shown = np.concatenate([rows[:count], rows[len(rows) - count :]])
    return shown, percentiles(scores[shown], scores[judged & ~is_member])


@draws_or_logs
def draw_exposed(
    path: Path, images: NDArray[np.uint8], percentile: Floats, is_member: NDArray[np.bool_], subject: str
) -> None:
    """Draw the images with the highest scores, and those with the lowest, in the colour of their side.

    Args:
        path: the PNG.
        images: [2k, C, H, W], the most exposed k first.
        percentile: [2k], among the hold-outs' scores.
        is_member: [2k].
        subject: scorer, target and dataset.
    """
    columns = max(1, len(images) // 2)
    captions = [f"above {rank:.0f}%" for rank in percentile]
    with figure_with_axes(path, (1.2 * columns + 0.6, 3.8)) as (figure, (axes,)):
        figure.suptitle(f"Most (above) and least (below) exposed: {subject}", fontsize=10)
        figure.supxlabel("share of hold-outs that score less", fontsize=8)
        for row in range(2):
            part = slice(row * columns, (row + 1) * columns)
            _show_row(axes, row, images[part], is_member[part], captions[part])
        _frame_rows(axes, 2, columns)


@draws_or_logs
def draw_near_duplicates(
    path: Path,
    groups: Sequence[NDArray[np.uint8]],
    sides: Sequence[NDArray[np.bool_]],
    sizes: Sequence[int],
    subject: str,
) -> None:
    """Draw groups of images that look alike, a row each, in the colour of their side.

    Args:
        path: the PNG.
        groups: the first images of the first groups, each [k, C, H, W].
        sides: whether they are members, each [k].
        sizes: of all groups.
        subject: the dataset.
    """
    columns = max(4, *map(len, groups))  # wide enough for the title
    with figure_with_axes(path, (1.2 * columns + 0.6, 1.6 * len(groups) + 0.5)) as (figure, (axes,)):
        figure.suptitle(f"{sum(sizes)} images that look alike, groups: {len(sizes)}. {subject}", fontsize=10)
        for row, (images, is_member, size) in enumerate(zip(groups, sides, sizes, strict=False)):
            captions = [""] * len(images)
            if size > len(images):
                captions[-1] = f"and {size - len(images)} more"
            _show_row(axes, row, images, is_member, captions)
        _frame_rows(axes, len(groups), columns)


def _show_row(
    axes: Axes, row: int, images: NDArray[np.uint8], is_member: NDArray[np.bool_], captions: Sequence[str]
) -> None:
    """Show images [k, C, H, W] beside each other in the colours of their sides, a unit of the axes each.

    Axes of their own would double the time of a sheet.
    """
    for column, (image, member, caption) in enumerate(zip(images, is_member, captions, strict=True)):
        height, width = (0.8 * side / max(image.shape[1:]) for side in image.shape[1:])
        left, top = column + (1 - width) / 2, row * ROW + (1 - height) / 2
        pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(left, left + width, top + height, top))
        colour = MEMBER if member else HOLDOUT
        axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=colour, linewidth=2))
        middle, side = column + 0.5, "member" if member else "hold-out"
        axes.text(middle, top - 0.05, side, fontsize=8, color=colour, ha="center", va="bottom")
        axes.text(middle, top + height + 0.05, caption, fontsize=8, ha="center", va="top")


def _frame_rows(axes: Axes, rows: int, columns: int) -> None:
    axes.set(xlim=(0.0, columns), ylim=(rows * ROW, 0.0), aspect="equal")
    axes.axis("off")
