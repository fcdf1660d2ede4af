"""The figure of a search: validation AUC over each of the settings that were tried."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from secmi_exp.reporting.axes_figure import is_wide, numbers
from secmi_exp.reporting.drawing import figure_with_axes, only_shown, use_log_scale
from secmi_exp.reporting.figures import HOLDOUT as CHOSEN
from secmi_exp.reporting.figures import MEMBER as TRIED
from secmi_exp.reporting.figures import NEUTRAL
from secmi_exp.reporting.jobs import Job, swept_names


@only_shown
def draw_search(path: Path, ranked: Sequence[Job]) -> bool:
    """Draw a panel for each setting, and in it a point for each job.

    Args:
        path: of the figure.
        ranked: jobs with a validation AUC, the best first; several may have the same settings.

    Returns:
        Whether there was anything to draw: not where all jobs have the same settings.
    """
    tried = swept_names([job.given for job in ranked])
    if not tried:
        return False
    size = 1.6 + 3.4 * len(tried), 3.8
    with figure_with_axes(path, size, columns=len(tried), sharey=True) as (figure, (panels,)):
        for axes, name in zip(panels, tried, strict=True):
            _draw_setting(axes, ranked, name)
        panels[0].set_ylabel("validation AUC")
        panels[-1].legend(fontsize="small", frameon=False)
        figure.suptitle("AUC on attack-train images that nothing was fitted on", fontsize=10)
    return True


def _draw_setting(axes: Axes, ranked: Sequence[Job], name: str) -> None:
    auc = [auc for job in ranked if (auc := job.validation.value) is not None]
    values = numbers([job.given for job in ranked], name)
    if values is None:
        levels = sorted({job.given.get(name, "") for job in ranked})
        values = [float(levels.index(job.given.get(name, ""))) for job in ranked]
        axes.set_xticks(range(len(levels)), levels, rotation=30, ha="right")
    elif is_wide(values):
        use_log_scale(axes, x=True)
    axes.plot(values, auc, "o", color=TRIED, alpha=0.5, label="job")
    axes.plot(values[:1], auc[:1], "D", color=CHOSEN, label=f"job {ranked[0].name}, chosen")
    axes.axhline(0.5, color=NEUTRAL, linestyle=":", linewidth=1)
    axes.set_xlabel(name)
    axes.spines[["top", "right"]].set_visible(False)
