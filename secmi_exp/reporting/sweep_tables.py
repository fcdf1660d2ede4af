"""The tables at the end of a sweep: its jobs, a ranking, a search, and leak against quality."""

from collections.abc import Callable, Mapping, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secmi_exp.evaluation.operating_points import tpr_metric
from secmi_exp.formatting import counted
from secmi_exp.reporting.ranking import Ranking, Standing
from secmi_exp.reporting.results_file import UNRESOLVED, Estimate
from secmi_exp.reporting.run_folders import FinishedRun, swept_settings
from secmi_exp.reporting.sweep_figures import METRICS, QUALITY
from secmi_exp.reporting.table_files import TableRow

TPR = tpr_metric(0.01)
RATE, QUERIES, SECONDS = "TPR at 1% FPR", "queries per sample", "seconds"
INTERVAL = " [interval]"
"""Suffix of the column's form with the interval; not shown."""
PAIRED = (["attack", "AUC", RATE, QUERIES, SECONDS, "p (Holm)"], [SECONDS, QUERIES, RATE, "p (Holm)"])
"""Columns on the same samples, and those that a narrow terminal lacks, the first to go first."""
REPEATED = (
    ["attack", "runs", "mean AUC", "sd", RATE, QUERIES, SECONDS, "difference to best"],
    [SECONDS, "sd", RATE, QUERIES, "runs", "difference to best"],
)
"""The same over runs."""
GAP, EDGE = 2, 1
"""Characters before each column, and after the last."""
LONGEST_WORD = 20
"""Characters of a name that are not broken."""


def jobs_table(runs: Sequence[FinishedRun]) -> Table:
    """Return a row for each job, with the settings in which they differ, AUC, ASR and cost."""
    metrics = {heading: [run.results.estimate(metric) for run in runs] for metric, heading in METRICS.items()}
    return _jobs_table(counted(len(runs), "job"), runs, metrics, str)


def rank_by_validation(runs: Sequence[FinishedRun], direction: str) -> list[FinishedRun]:
    """Return the runs that have a validation AUC, the best first, and of equal ones the earlier first.

    Args:
        runs: runs in the order of their numbers.
        direction: what the search does with AUC, maximize or minimize.
    """
    aucs = {run: _validation_auc(run).value for run in runs}
    ranked = [(auc, run) for run, auc in aucs.items() if auc is not None]
    return [run for _, run in sorted(ranked, key=lambda pair: pair[0], reverse=direction == "maximize")]


def search_table(ranked: Sequence[FinishedRun]) -> Table:
    """Return a row for each job with its settings and validation AUC; nothing of the evaluation part."""
    metrics = {"validation AUC": [_validation_auc(run) for run in ranked]}
    return _jobs_table(f"{counted(len(ranked), 'job')} by AUC on attack-train images", ranked, metrics, rounded)


def rounded(value: str) -> str:
    """Round a number that a search has drawn.

    >>> rounded("0.0026938830192854116"), rounded("100000"), rounded("randaugment")
    ('0.002694', '100000', 'randaugment')
    """
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value


def choice(ranked: Sequence[FinishedRun]) -> str:
    """Return a sentence with the settings that a search chooses, and their AUC on the evaluation part."""
    best = ranked[0]
    assert best.results.validation
    swept = swept_settings([run.overrides for run in ranked])
    settings = " ".join(f"{name}={best.overrides.get(name, '')}" for name in swept)
    validation = best.results.validation
    return (
        f"Best on attack-train images: job {best.shown}{f' ({settings})' if settings else ''}: validation AUC "
        f"{_validation_auc(best)} over {validation.n_member} members and {validation.n_holdout} hold-outs; on the "
        f"evaluation part AUC {best.results.estimate('auc')}."
    )


def tradeoff_table(rows: Sequence[TableRow], swept: Sequence[str]) -> Table | None:
    """Return a row for each job with leak, quality and spent privacy; None if no quality was measured.

    Args:
        rows: rows of summary.csv.
        swept: the settings in which the jobs differ.
    """
    names = ("auc", *QUALITY, "epsilon_spent", "epsilon_refuted")
    columns = [name for name in names if any(Estimate.from_row(row, name).value is not None for row in rows)]
    if not QUALITY.keys() & columns:
        return None
    table = Table(title="Leak and quality (less is better)", title_justify="left")
    for name in ("job", *swept, *columns):
        table.add_column(Text(name.rpartition(".")[2].replace("_", " ")), overflow="fold")
    for row in rows:
        estimates = (str(Estimate.from_row(row, name)) for name in columns)
        table.add_row(*map(Text, (str(row["job"]), *(str(row.get(name, "")) for name in swept), *estimates)))
    return table


def print_ranking(ranking: Ranking, console: Console) -> None:
    """Print the table of a ranking, and sentences on what its numbers mean."""
    console.print(ranking_table(ranking, console))
    for sentence in remarks(ranking):
        console.print(Text(sentence))


def ranking_table(ranking: Ranking, console: Console) -> Table:
    """Return the fullest table that the console has room for.

    First the interval of the TPR is left out, then names are folded between their words, then columns are left out.
    Attack and AUC always stay.
    """
    names, optional = REPEATED if ranking.contest.repeated else PAIRED
    choices = [[RATE + INTERVAL if name == RATE else name for name in names]]
    choices += [[name for name in names if name not in optional[:number]] for number in range(len(optional) + 1)]
    for number, chosen in enumerate(choices):
        label, *widths = (_cells_width(ranking, name) for name in chosen)
        room = console.width - sum(widths) - len(chosen) * GAP - EDGE
        if room >= (label if number == 0 else _longest_word(ranking)):
            break
    return _table(ranking, dict(zip(chosen, [min(label, max(room, 1)), *widths], strict=True)))


def remarks(ranking: Ranking) -> list[str]:
    """Say on what samples the contenders were compared, and why numbers are missing."""
    contest, scored = ranking.contest, ranking.contest.scorings[0].evaluated.scored
    members = int(scored.is_member.sum())
    sides = f"{members} members and {len(scored.is_member) - members} hold-outs"
    sets = len({scoring.evaluated.samples for scoring in contest.scorings})
    if contest.repeated:
        beyond = "" if sets > 1 else " All runs have the same samples: the interval tells nothing of others."
        sentences = [
            f"Mean over runs, each on {sides}, with its t interval; differences are those of runs in common.{beyond}"
        ]
    else:
        number = len(ranking.pairs)
        holm = f", Holm-adjusted for {number} pairs" if number > 1 else ""
        sentences = [f"All on the same {sides}. p: equal AUC with the best, DeLong's paired test{holm}."]
        if contest.n_targets > 1:
            sentences.append(
                f"They attacked {contest.n_targets} different targets: p holds for these, not for others trained alike."
            )
    sentences.append("Seconds are of measuring and scoring; what the store had took none.")
    reasons = (scoring.entry.results.unresolved.get(TPR) for scoring in contest.scorings)
    return sentences + [f"Not resolved: {reason}." for reason in dict.fromkeys(reasons) if reason]


def _table(ranking: Ranking, widths: dict[str, int]) -> Table:
    table = Table(title=Text(_title(ranking)), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, width in widths.items():
        heading = Text(name.removesuffix(INTERVAL))
        table.add_column(heading, justify="left" if name == "attack" else "right", width=width, overflow="fold")
    for standing in ranking.standings:
        table.add_row(*(Text(CELLS[name](standing)) for name in widths))
    return table


def _cells_width(ranking: Ranking, name: str) -> int:
    """Return the characters that a column needs: for its cells, and for the longest word of its heading."""
    cells = (CELLS[name](standing) for standing in ranking.standings)
    return max(map(cell_len, [*cells, *name.split()]))


def _longest_word(ranking: Ranking) -> int:
    words = (word for standing in ranking.standings for word in standing.name.split())
    return min(LONGEST_WORD, max(map(cell_len, words)))


def _title(ranking: Ranking) -> str:
    title = f"{len(ranking.standings)} attacks compared"
    return f"{title}: {ranking.contest.title}" if ranking.contest.title else title


def _jobs_table(
    title: str, runs: Sequence[FinishedRun], metrics: Mapping[str, list[Estimate]], shown: Callable[[str], str]
) -> Table:
    swept = swept_settings([run.overrides for run in runs])
    table = Table(title=title, title_justify="left")
    for name in ("job", *swept):
        table.add_column(Text(name.rpartition(".")[2]), overflow="fold")
    for heading in (*metrics, "queries/sample", "made", "seconds"):
        table.add_column(heading, justify="right", overflow="fold")
    for run, *estimates in zip(runs, *metrics.values(), strict=True):
        results, settings = run.results, [shown(run.overrides.get(name, "")) for name in swept]
        per_sample = "" if results.queries_per_sample is None else str(results.queries_per_sample)
        cost = (per_sample, f"{results.queries_spent:,}", f"{results.seconds:.1f}")
        table.add_row(*map(Text, (run.shown, *settings, *map(str, estimates), *cost)))
    return table


def _validation_auc(run: FinishedRun) -> Estimate:
    return run.results.validation.estimate("auc") if run.results.validation else UNRESOLVED


def _rate(standing: Standing) -> Estimate:
    return standing.metrics.get(TPR, UNRESOLVED)


def _p_value(standing: Standing) -> str:
    if standing.p_holm is None:
        return "best"
    return "<0.001" if standing.p_holm < 0.001 else f"{standing.p_holm:.3f}"


CELLS: dict[str, Callable[[Standing], str]] = {
    "attack": lambda standing: standing.name,
    "runs": lambda standing: str(len(standing.contender.repeats)),
    "AUC": lambda standing: str(standing.auc),
    "mean AUC": lambda standing: str(standing.auc),
    "sd": lambda standing: "–" if standing.auc_deviation is None else f"{standing.auc_deviation:.3f}",
    RATE + INTERVAL: lambda standing: str(_rate(standing)) or "not resolved",
    RATE: lambda standing: str(Estimate(_rate(standing).value)) or "not resolved",
    QUERIES: lambda standing: f"{standing.queries_per_sample:g}",
    SECONDS: lambda standing: f"{standing.seconds:.1f}",
    "p (Holm)": _p_value,
    "difference to best": lambda standing: str(standing.difference) or "–",
}
"""Heading → the column's cell of a contender."""
