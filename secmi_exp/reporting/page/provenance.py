"""What computed the numbers, when, and from how many samples."""

from collections.abc import Sequence
from pathlib import Path

from secmi_exp.reporting.page.entries import Entry, names_by_run
from secmi_exp.reporting.page.markup import Html, element, joined
from secmi_exp.reporting.page.results_file import Code
from secmi_exp.reporting.page.runs import Run
from secmi_exp.reporting.page.tables import Cell, Column, table


def provenance(entries: Sequence[Entry]) -> Html:
    """What each run's numbers come from."""
    named = names_by_run(entries)
    packages = list(dict.fromkeys(package for run in named for package in run.results.versions))
    numbers = ("seed", "members judged", "hold-outs judged", "attacked", "seconds in all")
    columns = [
        Column("run"), Column("written (UTC)"), *(Column(title, True) for title in numbers), Column("target's weights"),
        Column("revision"),
        *map(Column, packages),
    ]  # fmt: skip
    return table("provenance-table", "Where the numbers come from", columns, [
        [
            Cell(joined([element("span", name, class_="name"), element("span", run.shown, class_="path")])),
            Cell(element("span", f"{run.written:%Y-%m-%d %H:%M}", class_="whole")),
            *(_count(each) for each in _numbers(run)),
            _weights(Path(run.results.target_folder).name),
            _revision(run.results.provenance.code),
            *(Cell(run.results.versions.get(package) or "–") for package in packages),
        ]
        for run, name in named.items()
    ], "sortable")  # fmt: skip


def _numbers(run: Run) -> list[float | None]:
    results = run.results
    seconds = round(sum(results.timing_s.values()), 1) if results.timing_s else None
    return [results.seed, results.n_member, results.n_holdout, results.split.attacked, seconds]


def _count(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:,}", value)


def _revision(code: Code) -> Cell:
    """The commit that this package was at, and whether it differed from it."""
    if code.revision is None:
        return Cell("–")
    shown = f"{code.revision[:8]}{', modified' if code.modified else ''}"
    return Cell(element("code", shown, class_="whole", title=code.revision))


def _weights(key: str) -> Cell:
    """The store's key of the target, as short as the log has it."""
    return Cell(element("code", key[:8], class_="whole", title=key))
