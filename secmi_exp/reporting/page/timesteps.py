"""How an attack depends on its timestep, where a sweep went over t_sec."""

from collections.abc import Sequence
from dataclasses import dataclass

from secmi_exp.reporting.jobs import Estimate
from secmi_exp.reporting.page.chart import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Frame, picture
from secmi_exp.reporting.page.entries import Entry
from secmi_exp.reporting.page.markup import Html, element, joined
from secmi_exp.reporting.page.tables import Cell, Column, rate, table

CHARTED = 6
"""Series that one chart tells apart; the table has all."""


@dataclass(frozen=True)
class Series:
    """One attack at several timesteps, all else equal."""

    name: str
    points: list[tuple[int, Estimate]]
    """t_sec and AUC, ascending."""


def swept_series(entries: Sequence[Entry]) -> list[Series]:
    """Of entries that differ in t_sec and in nothing else of their configuration."""
    groups: dict[tuple[object, ...], dict[int, Entry]] = {}
    for entry in entries:
        results = entry.run.results
        if entry.auc is None or results.t_sec is None:
            continue
        rest = tuple((name, value) for name, value in entry.run.config.items() if name != "attack.t_sec")
        key = (entry.scorer, results.dataset, results.target, results.target_folder, results.seed, results.k, rest)
        groups.setdefault(key, {}).setdefault(results.t_sec, entry)
    swept = [group for group in groups.values() if len(group) > 1]
    return [
        Series(_name(group, swept), [(t_sec, group[t_sec].judged.estimate("auc")) for t_sec in sorted(group)])
        for group in swept
    ]


def _name(group: dict[int, Entry], swept: Sequence[dict[int, Entry]]) -> str:
    words = [
        word for word in next(iter(group.values())).name.split() if not word.startswith("t_sec=")
    ]  # the path of a name stays, which tells series apart
    return " ".join(words) if len(swept) > 1 else str(words[0])


def timestep_chart(entries: Sequence[Entry]) -> Html | None:
    """AUC over t_sec with its interval, and the same as a table; None where nothing was swept."""
    series = swept_series(entries)
    if not series:
        return None
    charted = series[:CHARTED]
    estimates = [estimate for each in charted for _, estimate in each.points]
    timesteps = [t_sec for each in charted for t_sec, _ in each.points]
    lowest = min(0.5, *(end for each in estimates for end in (each.low, each.value) if end is not None))
    frame = Frame(Axis(min(timesteps), max(timesteps), LEFT, RIGHT), Axis(max(0.0, lowest - 0.02), 1.0, BOTTOM, TOP))
    chance = element("path", class_="chance", d=frame.polyline([(frame.x.low, 0.5), (frame.x.high, 0.5)]))
    drawn = [part for place, each in enumerate(charted) for part in _drawn(frame, each, place)]
    description = "; ".join(_told(each) for each in charted)
    svg = picture(
        "timesteps", WIDTH, HEIGHT, "AUC over t_sec", description, frame.markup("t_sec", "AUC"), chance, *drawn
    )
    keys = [
        element(
            "li",
            element("svg", element("path", class_=f"curve colour-{place % COLOURS}", d="M1 6H27"), viewBox="0 0 28 12",
                    aria_hidden="true"),
            element("span", each.name, class_="name"),
        )
        for place, each in enumerate(charted)
    ]  # fmt: skip
    left_out = len(series) - len(charted)
    told = " The table has the series that are not drawn." if left_out else ""
    caption = element("figcaption", f"AUC by the timestep at which errors are compared, with 95% intervals.{told}")
    figure = element("figure", svg, element("ul", *keys, class_="legend"), caption, class_="narrow")
    return joined([figure, _table(series)])


def _drawn(frame: Frame, series: Series, place: int) -> list[Html]:
    colour = f"colour-{place % COLOURS}"
    points = [(t_sec, each.value) for t_sec, each in series.points if each.value is not None]
    bounded = [(t_sec, each.low, each.high) for t_sec, each in series.points]
    upper = [(t_sec, high) for t_sec, _, high in bounded if high is not None]
    lower = [(t_sec, low) for t_sec, low, _ in bounded if low is not None]
    parts = [element("circle", class_=f"dot {colour}", cx=frame.x(x), cy=frame.y(y), r=4) for x, y in points]
    if upper and lower:
        parts.insert(0, element("path", class_=f"band {colour}", d=frame.polyline([*upper, *reversed(lower)]) + "Z"))
    return [element("path", class_=f"curve {colour}", d=frame.polyline(points)), *parts]


def _told(series: Series) -> str:
    best = max(series.points, key=lambda point: point[1].value or 0.0)
    return f"{series.name}: AUC is highest at t_sec {best[0]}, {best[1]}, of {len(series.points)} timesteps"


def _table(series: Sequence[Series]) -> Html:
    rows = [
        [Cell(each.name), Cell(str(t_sec), t_sec), Cell(str(estimate), rate(estimate.value).value)]
        for each in series
        for t_sec, estimate in each.points
    ]
    columns = [Column("attack"), Column("t_sec", number=True), Column("AUC [95% interval]", number=True)]
    return element(
        "details",
        element("summary", "The timesteps as a table"),
        table("timestep-table", "AUC by t_sec", columns, rows),
    )
