"""In which settings the runs' configurations differ."""

from collections.abc import Sequence

from secmi_exp.reporting.page.entries import Entry, Names, names_by_run
from secmi_exp.reporting.page.markup import Html, element, empty, joined
from secmi_exp.reporting.page.runs import Run
from secmi_exp.reporting.page.tables import Cell, Column, table

SIDE_BY_SIDE = 12
"""Runs that have a column each; more are listed by value."""


def differences(entries: Sequence[Entry]) -> Html:
    """Keys of config.yaml in which runs differ: those that all have, and, folded, those that only some have."""
    named = names_by_run(entries)
    runs = [run for run in named if run.config]
    if len(runs) < 2:
        return element("p", "There are no two configurations to compare.", class_="quiet")
    keys = sorted({key for run in runs for key in run.config})
    differing = [key for key in keys if len({run.config.get(key) for run in runs}) > 1]
    if not differing:
        return element("p", "All configurations are the same.", class_="quiet")
    shared = [key for key in differing if all(key in run.config for run in runs)]
    partial = [key for key in differing if key not in shared]
    lay_out = _side_by_side if len(runs) <= SIDE_BY_SIDE else _by_value
    parts = []
    if shared:
        parts.append(lay_out("differences", "Settings of all runs that differ", shared, runs, named))
    if partial:
        content = lay_out("partial-differences", "Settings that only some runs have", partial, runs, named)
        summary = element("summary", f"{len(partial)} settings that only some runs have")
        parts.append(element("details", summary, content, class_="seldom"))
    return joined(parts)


def _side_by_side(identity: str, caption: str, keys: Sequence[str], runs: Sequence[Run], names: Names) -> Html:
    columns = [Column("setting"), *(Column(names[run]) for run in runs)]
    rows = [[_key(key), *(Cell(_value(run.config.get(key))) for run in runs)] for key in keys]
    return table(identity, caption, columns, rows, "settings")


def _by_value(identity: str, caption: str, keys: Sequence[str], runs: Sequence[Run], names: Names) -> Html:
    rows = []
    for key in keys:
        holders: dict[str | None, list[str]] = {}
        for run in runs:
            holders.setdefault(run.config.get(key), []).append(names[run])
        values = [element("li", _value(value), " ", _listed(each)) for value, each in holders.items()]
        rows.append([_key(key), Cell(element("ul", *values))])
    return table(identity, caption, [Column("setting"), Column("values and their runs")], rows, "settings")


def _key(key: str) -> Cell:
    """A setting's name, which may be broken after its dots."""
    *groups, last = key.split(".")
    return Cell(element("code", *(part for group in groups for part in (f"{group}.", empty("wbr"))), last))


def _value(value: str | None) -> Html:
    return element("span", "not set", class_="quiet") if value is None else element("code", value)


def _listed(names: Sequence[str]) -> Html:
    if len(names) == 1:
        return element("span", names[0], class_="quiet")
    return element("details", element("summary", f"{len(names)} runs"), ", ".join(names), class_="inline")
