"""Tables that scroll inside their own container and that a script can sort."""

from collections.abc import Sequence
from dataclasses import dataclass

from secmi_exp.reporting.page.markup import Child, Html, element


@dataclass(frozen=True)
class Column:
    """A column."""

    title: str
    number: bool = False
    sorted_first: bool = False
    """Whether the rows come in descending order of it."""
    note: str | None = None
    """What the title stands for, where it is short."""


@dataclass(frozen=True)
class Cell:
    """A cell; one without a value sorts last."""

    content: Child
    value: float | None = None
    """By which a column of numbers sorts."""

    @classmethod
    def unresolved(cls, why: str | None = None) -> "Cell":
        """Where there is no number."""
        return cls(element("span", "not resolved", class_="quiet", title=why))


def rate(value: float | None) -> Cell:
    """A number in [0, 1]."""
    return Cell.unresolved() if value is None else Cell(f"{value:.3f}", value)


def table(
    identity: str, caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], kind: str = ""
) -> Html:
    """A table whose rows begin with their heading.

    Args:
        identity: its id.
        caption: what a screen reader announces; also shown.
        columns: their titles.
        rows: as many cells each.
        kind: further classes; "sortable" lets a script sort it.
    """
    head = element("tr", *(_heading(column) for column in columns))
    body = [
        element("tr", _row_heading(row[0]), *map(_cell, row[1:], columns[1:])) for row in rows
    ]  # fmt: skip
    content = element(
        "table",
        element("caption", caption, id=f"{identity}-caption"),
        element("thead", head),
        element("tbody", *body),
        id=identity,
        class_=kind or None,
    )
    return element("div", content, class_="scroll", role="region", tabindex=0, aria_labelledby=f"{identity}-caption")


def _heading(column: Column) -> Html:
    return element(
        "th",
        column.title,
        scope="col",
        class_="number" if column.number else None,
        aria_sort="descending" if column.sorted_first else None,
        title=column.note,
    )


def _row_heading(cell: Cell) -> Html:
    return element("th", cell.content, scope="row")


def _cell(cell: Cell, column: Column) -> Html:
    return element("td", cell.content, class_="number" if column.number else None, data_value=cell.value)
