"""The figures of experiments/README.md, each drawn from what was kept in results/."""

from pathlib import Path

from experiments.kept import read_rows, read_run, read_scores, table
from experiments.tables import swept
from secmi_exp.evaluation.relative_t_error import RelativeTError
from secmi_exp.reporting import figures
from secmi_exp.reporting.axes_figure import draw_axes
from secmi_exp.reporting.comparison_figures import draw_comparison_cost
from secmi_exp.reporting.tradeoff import draw_tradeoff


def axes(name: str, path: Path) -> None:
    """AUC and ASR over what was swept."""
    rows = read_rows(table(name))
    draw_axes(path, rows, swept(rows))


def tradeoff(name: str, path: Path) -> None:
    """AUC against the target's quality."""
    rows = read_rows(table(name))
    draw_tradeoff(path, rows, swept(rows))


def cost(name: str, path: Path) -> None:
    """AUC of attacks against their queries."""
    draw_comparison_cost(path, read_rows(table(name)), "AUC and its cost: ddpm_small, digits", "AUC [95% interval]")


def relative_t_error(name: str, path: Path) -> None:
    """T-errors of hold-outs relative to members over timesteps."""
    told = read_run(name)
    figures.draw_relative_t_error(path, RelativeTError(**told["relative_t_error"]), told["t_sec"], subject(name))


def t_errors(name: str, path: Path) -> None:
    """Their distributions with the threshold."""
    figures.draw_t_errors(path, read_scores(name)["t_error"], subject(name), read_run(name)["t_sec"])


def roc(name: str, path: Path) -> None:
    """On linear axes."""
    figures.draw_roc(path, scorers(name), subject(name), logarithmic=False)


def roc_log(name: str, path: Path) -> None:
    """On logarithmic axes."""
    figures.draw_roc(path, scorers(name), subject(name), logarithmic=True)


def scorers(name: str) -> dict[str, figures.Scored]:
    """Without the t-errors."""
    found = read_scores(name).items()
    return {column.removeprefix("score_"): scored for column, scored in found if column.startswith("score_")}


def subject(name: str) -> str:
    """What was attacked."""
    told = read_run(name)
    return f"{told['target']}, {told['dataset']}"
