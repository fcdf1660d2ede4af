"""The table that compares all scorers of all runs."""

from collections.abc import Sequence

from secmi_exp.reporting.jobs import Estimate
from secmi_exp.reporting.page.chart import Axis
from secmi_exp.reporting.page.entries import Entry
from secmi_exp.reporting.page.markup import Html, element, joined
from secmi_exp.reporting.page.tables import Cell, Column, table

CHANCE = 0.5
"""AUC of guessing."""


def comparison(entries: Sequence[Entry]) -> Html:
    """A row for each scorer of each run, by AUC."""
    columns = [
        Column("run"), Column("AUC [95% interval]", True, sorted_first=True),
        Column("ASR", True, note="attack success rate, oracle threshold"),
        Column("TPR at 1% FPR", True),
        Column("accuracy, calibrated", True, note="with a threshold chosen on other samples"),
        Column("ε ≥", True, note="lower bound on the ε of differential privacy"),
        Column("queries / sample", True), Column("seconds", True, note="of measuring and scoring"),
        Column("attack"), Column("target"), Column("dataset"),
    ]  # fmt: skip
    caption = "Runs by AUC. Seconds are those of measuring and scoring beyond what the store had."
    lows = [low for entry in entries for low in [entry.judged.estimate("auc").low] if low is not None]
    rows = [_compared(entry, min([CHANCE, *lows])) for entry in entries]
    return table("comparison-table", caption, columns, rows, "sortable")


def _compared(entry: Entry, lowest: float) -> list[Cell]:
    results, judged = entry.run.results, entry.judged
    label = joined([element("span", entry.name, class_="name"), element("span", entry.run.shown, class_="path")])
    rates = [_rate(entry, metric) for metric in ("asr", "tpr_at_1pct_fpr", "accuracy_calibrated")]
    queries = results.queries_per_sample
    return [
        Cell(label), _auc(judged.estimate("auc"), lowest), *rates, _epsilon(entry),
        Cell("") if queries is None else Cell(f"{queries:g}", queries),
        Cell(f"{results.attack_seconds:,.1f}", results.attack_seconds) if entry.scorer else Cell(""),
        Cell(entry.scorer or "none"), Cell(results.target), Cell(results.dataset),
    ]  # fmt: skip


def _rate(entry: Entry, metric: str) -> Cell:
    value = entry.judged.metrics.get(metric)
    if value is None:
        return Cell.unresolved(entry.judged.unresolved.get(metric)) if entry.scorer else Cell("")
    estimate = entry.judged.estimate(metric)
    return Cell(joined([f"{value:.3f}", _interval(estimate)]), value)


def _interval(estimate: Estimate) -> Html | None:
    if estimate.low is None or estimate.high is None:
        return None
    return element("span", f"[{estimate.low:.3f}, {estimate.high:.3f}]", class_="interval")


def _auc(estimate: Estimate, lowest: float) -> Cell:
    if estimate.value is None:
        return Cell("")
    axis = Axis(lowest, 1.0, 0.0, 100.0)
    low, high = (axis(estimate.value if end is None else end) for end in (estimate.low, estimate.high))
    bar = element(
        "svg",
        element("path", class_="rail", d=f"M{axis(CHANCE):g} 1V13M0 7H100"),
        element("path", class_="span", d=f"M{low:g} 7H{high:g}"),
        element("circle", cx=axis(estimate.value), cy=7, r=3.5),
        class_="interval-bar", viewBox="-4 0 108 14", aria_hidden="true",
    )  # fmt: skip
    return Cell(joined([f"{estimate.value:.3f}", _interval(estimate), bar]), estimate.value)


def _epsilon(entry: Entry) -> Cell:
    bound = entry.judged.epsilon_lower_bound
    if bound is None:
        return Cell("")
    one_run = element("span", f"one run: {bound.one_run:.2f}", class_="interval") if bound.one_run is not None else None
    return Cell(joined([f"{bound.epsilon:.2f}", one_run]), bound.epsilon)
