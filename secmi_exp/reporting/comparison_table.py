"""The terminal's table of a comparison, at any width: columns give way before names or numbers are cut."""

from collections.abc import Callable

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secmi_exp.evaluation.operating_points import tpr_metric
from secmi_exp.reporting.jobs import Estimate
from secmi_exp.reporting.standings import Ranking, Standing

TPR = tpr_metric(0.01)
RATE, QUERIES, SECONDS = "TPR at 1% FPR", "queries per sample", "seconds"
INTERVAL = " [interval]"
"""Marks the fuller form of a column; not shown."""
PAIRED = (["attack", "AUC", RATE, QUERIES, SECONDS, "p (Holm)"], [SECONDS, QUERIES, RATE, "p (Holm)"])
"""Columns on the same samples, and in which order they give way."""
REPEATED = (
    ["attack", "runs", "mean AUC", "sd", RATE, QUERIES, SECONDS, "difference to best"],
    [SECONDS, "sd", RATE, QUERIES, "runs", "difference to best"],
)
"""Columns over runs, and in which order they give way."""
GAP, EDGE = 2, 1
"""Columns of the terminal before each column of the table, and after the last."""
LONGEST_WORD = 20
"""Characters of a name that stay together."""

Cell = Callable[[Standing], str]


def print_comparison(ranking: Ranking, console: Console) -> None:
    """The table, and what its numbers rest on."""
    console.print(fitting(ranking, console))
    for sentence in remarks(ranking):
        console.print(Text(sentence))


def fitting(ranking: Ranking, console: Console) -> Table:
    """The fullest table that the console has room for.

    First the TPR's interval goes, which the files have, then names are folded between their words, then columns go, the
    dearest last. Attack and AUC always stay.
    """
    names, given_up = REPEATED if ranking.contest.repeated else PAIRED
    choices = [[RATE + INTERVAL if name == RATE else name for name in names]]
    choices += [[name for name in names if name not in given_up[:number]] for number in range(len(given_up) + 1)]
    for number, chosen in enumerate(choices):
        label, *widths = (_cells_width(ranking, name) for name in chosen)
        room = console.width - sum(widths) - len(chosen) * GAP - EDGE
        if room >= (label if number == 0 else _longest_word(ranking)):
            break
    return _table(ranking, dict(zip(chosen, [min(label, max(room, 1)), *widths], strict=True)))


def remarks(ranking: Ranking) -> list[str]:
    """What was compared on what, and why numbers are missing."""
    contest, scoring = ranking.contest, ranking.contest.scorings[0]
    members = int(scoring.evaluated.is_member.sum())
    sides = f"{members} members and {len(scoring.evaluated.is_member) - members} hold-outs"
    sets = len({each.samples for each in contest.scorings})
    if contest.repeated:
        beyond = "" if sets > 1 else " All runs have the same samples: the interval tells nothing of others."
        text = [
            f"Mean over runs, each on {sides}, with its t interval; differences are those of runs in common.{beyond}"
        ]
    else:
        number = len(ranking.pairs)
        holm = f", Holm-adjusted for {number} pairs" if number > 1 else ""
        text = [f"All on the same {sides}. p: equal AUC with the best, DeLong's paired test{holm}."]
        if contest.targets > 1:
            text.append(
                f"They attacked {contest.targets} different targets: p holds for these, not for others trained alike."
            )
    text.append("Seconds are of measuring and scoring; what the store had took none.")
    reasons = (each.found.get("unresolved", {}).get(TPR) for each in contest.scorings)
    return text + [f"Not resolved: {reason}." for reason in dict.fromkeys(reasons) if reason]


def _table(ranking: Ranking, widths: dict[str, int]) -> Table:
    table = Table(title=Text(_title(ranking)), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, width in widths.items():
        heading = Text(name.removesuffix(INTERVAL))
        table.add_column(heading, justify="left" if name == "attack" else "right", width=width, overflow="fold")
    for standing in ranking.standings:
        table.add_row(*(Text(CELLS[name](standing)) for name in widths))
    return table


def _cells_width(ranking: Ranking, name: str) -> int:
    """Columns of the terminal for what is below the heading, and for the heading's longest word."""
    cells = (CELLS[name](standing) for standing in ranking.standings)
    return max(map(cell_len, [*cells, *name.split()]))


def _longest_word(ranking: Ranking) -> int:
    words = (word for standing in ranking.standings for word in standing.label.split())
    return min(LONGEST_WORD, max(map(cell_len, words)))


def _title(ranking: Ranking) -> str:
    title = f"{len(ranking.standings)} attacks compared"
    return f"{title}: {ranking.contest.title}" if ranking.contest.title else title


def _rate(standing: Standing) -> Estimate:
    return standing.metrics.get(TPR, Estimate(None, None, None))


def _p(standing: Standing) -> str:
    if standing.p_holm is None:
        return "best"
    return "<0.001" if standing.p_holm < 0.001 else f"{standing.p_holm:.3f}"


def _behind(standing: Standing) -> str:
    return str(standing.behind) or "–"


CELLS: dict[str, Cell] = {
    "attack": lambda standing: standing.label,
    "runs": lambda standing: str(len(standing.contender.runs)),
    "AUC": lambda standing: str(standing.auc),
    "mean AUC": lambda standing: str(standing.auc),
    "sd": lambda standing: "–" if standing.auc_deviation is None else f"{standing.auc_deviation:.3f}",
    RATE + INTERVAL: lambda standing: str(_rate(standing)) or "not resolved",
    RATE: lambda standing: str(Estimate(_rate(standing).value, None, None)) or "not resolved",
    QUERIES: lambda standing: f"{standing.queries_per_sample:g}",
    SECONDS: lambda standing: f"{standing.seconds:.1f}",
    "p (Holm)": _p,
    "difference to best": _behind,
}
"""Heading → what the column shows of a contender."""
