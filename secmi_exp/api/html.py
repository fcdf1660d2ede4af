"""Small pieces of HTML that notebooks show for results."""

from collections.abc import Iterable, Sequence
from html import escape

from secmi_exp.run_warnings import RunWarning

LEFT = ' style="text-align: left"'


def table_of(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts.

    >>> table_of([], [["<1"]])
    '<table><thead><tr></tr></thead><tbody><tr><td style="text-align: left">&lt;1</td></tr></tbody></table>'
    """
    head = "".join(f"<th{LEFT}>{escape(each)}</th>" for each in headings)
    body = "".join(f"<tr>{''.join(f'<td{LEFT}>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def warnings_of(warnings: Sequence[RunWarning]) -> str:
    """A line for each warning, as the terminal has them."""
    return "".join(f"<p><strong>{each.heading}:</strong> {escape(each.sentence)}</p>" for each in warnings)


def page_of(title: str, parts: Sequence[str], notes: Sequence[str]) -> str:
    """A title, parts that are HTML, and notes that are text."""
    small = "".join(f"<p>{escape(each)}</p>" for each in notes)
    return f"<div><p><strong>{escape(title)}</strong></p>{''.join(parts)}{small}</div>"
