"""The interactive ROC: both scales drawn here, so that a script has only to choose, and a table that says the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from secmi_exp.evaluation.roc import unresolved
from secmi_exp.reporting.page.chart import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Frame, picture
from secmi_exp.reporting.page.curves import Curve, thinned
from secmi_exp.reporting.page.entries import Entry
from secmi_exp.reporting.page.markup import Html, element, joined, script_data
from secmi_exp.reporting.page.tables import Cell, Column, rate, table
from secmi_exp.store import Json

FIRST_SHOWN = 8
"""Curves that are visible before anything is chosen."""
READ_AT = (0.001, 0.01, 0.05, 0.1, 0.5)
"""False-positive rates of the table."""


@dataclass(frozen=True)
class Line:
    """A curve of the chart."""

    entry: Entry
    curve: Curve
    place: int

    @property
    def style(self) -> str:
        """Classes of its colour and dashes: eight colours, in three kinds of line."""
        return f"colour-{self.place % COLOURS} dashes-{self.place // COLOURS % 3}"

    @property
    def shown(self) -> bool:
        """At first."""
        return self.place < FIRST_SHOWN


def lines(entries: Sequence[Entry]) -> list[Line]:
    """Of those entries whose scores are at hand."""
    drawn = [(entry, entry.sample) for entry in entries if entry.sample]
    return [
        Line(entry, thinned(sample.roc, int(is_member.sum()), int(np.count_nonzero(~is_member))), place)
        for place, (entry, sample) in enumerate(drawn)
        for is_member in [sample.scored.is_member]
    ]


def roc_chart(entries: Sequence[Entry]) -> Html | None:
    """Chart, legend and table; None without a curve."""
    drawn = lines(entries)
    if not drawn:
        return None
    floor = min(line.curve.floor for line in drawn)
    frames = {
        "linear": Frame(Axis(0.0, 1.0, LEFT, RIGHT), Axis(0.0, 1.0, BOTTOM, TOP)),
        "log": Frame(Axis(floor, 1.0, LEFT, RIGHT, True), Axis(floor, 1.0, BOTTOM, TOP, True)),
    }
    plots = [_plot(scale, frame, drawn, floor) for scale, frame in frames.items()]
    best = drawn[0]
    description = (
        f"True-positive rate over false-positive rate of {len(drawn)} curves. The highest area, "
        f"{best.entry.judged.estimate('auc')}, is that of {best.entry.name}. The table below has the rates."
    )
    cursor = element("g", element("path", class_="axis"), element("circle", r=5), id="roc-cursor", hidden=True)
    svg = picture("roc", WIDTH, HEIGHT, "ROC", description, *plots, cursor)
    readout = element("p", "Point at a curve to read it.", id="roc-readout", class_="readout", aria_live="polite")
    how = "ROC: left and right arrow go along a curve, up and down to another one"
    reader = element(
        "div", svg, id="roc-reader", tabindex=0, role="group", aria_label=how, aria_describedby="roc-readout"
    )
    switch = element(
        "button", "Logarithmic axes", type="button", id="roc-scale", aria_pressed="false", class_="scripted"
    )
    legend = element("ul", *map(_key, drawn), class_="legend", id="roc-legend", aria_label="Curves, shown or hidden")
    choose = element(
        "p",
        element("button", "Show all", type="button", id="roc-all"),
        element("button", "Hide all", type="button", id="roc-none"),
        class_="scripted buttons",
    )
    caption = element("figcaption", _caption(drawn))
    chart = element("div", element("p", switch, class_="buttons"), reader, readout, class_="chart")
    side = element("div", choose, legend, class_="side")
    figure = element("figure", element("div", chart, side, class_="chart-and-side"), caption)
    return joined([figure, _rates(drawn), script_data("roc-data", _data(drawn, floor))])


def _plot(scale: str, frame: Frame, drawn: Sequence[Line], floor: float) -> Html:
    chance = frame.polyline([(floor, floor), (1.0, 1.0)] if scale == "log" else [(0.0, 0.0), (1.0, 1.0)])
    curves = [
        element(
            "path",
            class_=f"curve {line.style}",
            data_curve=line.place,
            d=frame.stairs([0.0, *line.curve.fpr], [0.0, *line.curve.tpr]),
            hidden=not line.shown,
        )
        for line in drawn
    ]
    content = [frame.markup("false-positive rate", "true-positive rate"), element("path", class_="chance", d=chance)]
    return element("g", *content, *reversed(curves), data_scale=scale, hidden=scale == "log")


def _key(line: Line) -> Html:
    """Of the legend."""
    sample = element(
        "svg", element("path", class_=f"curve {line.style}", d="M1 6H27"), viewBox="0 0 28 12", aria_hidden="true"
    )
    name = element("span", line.entry.name, class_="name")
    auc = element("span", f"AUC {line.entry.judged.estimate('auc')}", class_="quiet")
    button = element(
        "button",
        sample,
        name,
        auc,
        type="button",
        data_curve=line.place,
        aria_pressed="true" if line.shown else "false",
    )
    return element("li", button)


def _caption(drawn: Sequence[Line]) -> str:
    sizes = {(line.curve.n_member, line.curve.n_holdout) for line in drawn}
    members, holdouts = next(iter(sizes))
    on = f"{members:,} members and {holdouts:,} hold-outs" if len(sizes) == 1 else "the runs' evaluation parts"
    left_out = len(drawn) - FIRST_SHOWN
    hidden = f" The {FIRST_SHOWN} with the highest AUC are shown at first; the legend has all {len(drawn)}."
    return f"ROC on {on}, which nothing was fitted on; dotted: chance." + (hidden if left_out > 0 else "")


def _rates(drawn: Sequence[Line]) -> Html:
    rows = [
        [Cell(line.entry.name), *(_rate_cell(line, max_fpr) for max_fpr in READ_AT)] for line in drawn
    ]  # fmt: skip
    columns = [Column("run"), *(Column(f"TPR at {100 * max_fpr:g}% FPR", number=True) for max_fpr in READ_AT)]
    return element(
        "details",
        element("summary", "The ROC as a table"),
        table("rates", "True-positive rates of the ROC", columns, rows),
    )


def _rate_cell(line: Line, max_fpr: float) -> Cell:
    sample = line.entry.sample
    assert sample is not None
    if unresolved(max_fpr, line.curve.n_holdout):
        return Cell.unresolved()
    return rate(sample.roc.tpr_at(max_fpr, line.curve.n_holdout))


def _data(drawn: Sequence[Line], floor: float) -> Json:
    """What a script needs to read curves."""
    return {
        "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM, "floor": floor,
        "curves": [
            {
                "name": line.entry.name,
                "fp": [int(each) for each in line.curve.false_positives],
                "tp": [int(each) for each in line.curve.true_positives],
            }
            for line in drawn
        ],
    }  # fmt: skip
