"""Histograms of members and hold-outs, one small chart for each scorer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from secmi_exp.evaluation.scored import Floats
from secmi_exp.reporting.page.chart import Axis, Frame, picture
from secmi_exp.reporting.page.entries import Entry, Sample
from secmi_exp.reporting.page.markup import Html, element, joined

WIDTH, HEIGHT = 340, 200
LEFT, RIGHT, TOP, BOTTOM = 14, 326, 10, 150
BINS = 32
OPEN = 12
"""Charts that are shown before the others are asked for."""


def histograms(entries: Sequence[Entry]) -> Html | None:
    """Charts of all entries whose scores are at hand, the leading ones open; None without any."""
    charts = [
        _histogram(entry, entry.sample, f"histogram-{place}") for place, entry in enumerate(entries) if entry.sample
    ]
    if not charts:
        return None
    key = element(
        "p",
        element("span", "members", class_="key member"), " ",
        element("span", "hold-outs", class_="key holdout"), " ",
        element("span", "oracle threshold", class_="key oracle"), " ",
        element("span", "calibrated threshold", class_="key calibrated"),
        class_="keys",
    )  # fmt: skip
    shown = [key, element("div", *charts[:OPEN], class_="cards")]
    if more := charts[OPEN:]:
        summary = element("summary", f"{len(more)} more, of lower AUC")
        shown.append(element("details", summary, element("div", *more, class_="cards")))
    return joined(shown)


def _histogram(entry: Entry, sample: Sample, identity: str) -> Html:
    is_member = sample.scored.is_member
    thresholds = {name: value for name, value in entry.judged.threshold.items() if value is not None}
    if sample.t_errors is not None and (sample.t_errors > 0).all():
        values, what, logarithmic = sample.t_errors, "t-error", True
        thresholds = {name: -value for name, value in thresholds.items()}
        edges = np.geomspace(values.min() * 0.999, values.max() * 1.001, BINS + 1)
    else:
        values, what, logarithmic = sample.scored.scores, "membership score", False
        edges = _middle(values)
    axis = Axis(float(edges[0]), float(edges[-1]), LEFT, RIGHT, logarithmic, about=3)
    shares = {
        name: np.histogram(np.clip(values[side], edges[0], edges[-1]), edges)[0] / np.count_nonzero(side)
        for name, side in (("member", is_member), ("holdout", ~is_member))
    }
    frame = Frame(axis, Axis(0.0, max(float(each.max()) for each in shares.values()), BOTTOM, TOP))
    drawn = [element("path", class_=f"area {name}", d=_outline(frame, edges, each)) for name, each in shares.items()]
    drawn += [
        element("path", class_=f"threshold {name}", d=f"M{axis(thresholds[name]):g} {TOP}V{BOTTOM}")
        for name in ("oracle", "calibrated")
        if name in thresholds and edges[0] <= thresholds[name] <= edges[-1]
    ]
    medians = [f"{np.median(values[side]):.3g}" for side in (is_member, ~is_member)]
    alternative = f"Median {what} of members {medians[0]}, of hold-outs {medians[1]}"
    svg = picture(identity, WIDTH, HEIGHT, f"{what}s: {entry.name}", alternative, frame.markup(what, ""), *drawn)
    caption = element("figcaption", element("strong", entry.name), " ", alternative + ".")
    return element("figure", svg, caption, class_="card")


def _middle(values: Floats) -> NDArray[np.float64]:
    """Edges of even bins over the middle 99%, where tails are long."""
    low, high = np.percentile(values, [0.5, 99.5])
    margin = max(float(high - low), 1e-6 * abs(float(high)), 1e-12) * 0.05
    return np.linspace(low - margin, high + margin, BINS + 1)


def _outline(frame: Frame, edges: NDArray[np.float64], shares: NDArray[np.float64]) -> str:
    """Of the bars of one side."""
    y = frame.y
    bars = "".join(
        f"V{y(float(share)):g}H{frame.x(float(end)):g}" for share, end in zip(shares, edges[1:], strict=True)
    )
    return f"M{frame.x(float(edges[0])):g} {y(0.0):g}{bars}V{y(0.0):g}Z"
