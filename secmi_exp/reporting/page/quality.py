"""What targets leak against what they are worth, and the privacy that was spent on it, where runs measured that."""

from collections.abc import Sequence

from secmi_exp.reporting.jobs import Estimate
from secmi_exp.reporting.page.entries import Entry
from secmi_exp.reporting.page.markup import Html, element, joined
from secmi_exp.reporting.page.tables import Cell, Column, table

MEASURES = {
    "denoising_loss": "loss on hold-outs",
    "denoising_loss_members": "loss on members",
    "kernel_distance": "kernel distance of samples",
    "kernel_distance_members": "of members",
    "fid": "FID",
}


def quality(entries: Sequence[Entry]) -> Html | None:
    """A row for each scorer of a run that measured its target's quality; None where none did."""
    rows = [entry for entry in entries if entry.run.results.quality]
    if not rows:
        return None
    found = [name for name in MEASURES if any(_estimate(entry, name).value is not None for entry in rows)]
    private = any(entry.run.results.privacy for entry in rows)
    columns = [
        Column("run"), Column("AUC", True, sorted_first=True), *(Column(MEASURES[name], True) for name in found),
        *([Column("ε spent", True), Column("ε ≥", True, note="lower bound that the attack's decisions give")]
          if private else []),
    ]  # fmt: skip
    caption = "Runs by AUC, with the quality of their targets: less is better, of leak, loss and distance alike."
    return table("quality-table", caption, columns, [_row(entry, found, private=private) for entry in rows], "sortable")


def _row(entry: Entry, found: Sequence[str], *, private: bool) -> list[Cell]:
    cells = [Cell(entry.name), _cell(entry.judged.estimate("auc")), *(_cell(_estimate(entry, name)) for name in found)]
    if private:
        spent, bound = entry.run.results.privacy, entry.judged.epsilon_lower_bound
        cells.append(
            Cell("∞") if spent is None or spent.epsilon is None else Cell(f"{spent.epsilon:.3g}", spent.epsilon)
        )
        cells.append(Cell("") if bound is None else Cell(f"{bound.epsilon:.2f}", bound.epsilon))
    return cells


def _estimate(entry: Entry, name: str) -> Estimate:
    assert entry.run.results.quality
    return entry.run.results.quality.estimate(name)


def _cell(estimate: Estimate) -> Cell:
    if estimate.value is None:
        return Cell("")
    value, ends = f"{estimate.value:.4g}", None
    if estimate.low is not None and estimate.high is not None:
        ends = element("span", f"[{estimate.low:.4g}, {estimate.high:.4g}]", class_="interval")
    return Cell(joined([value, ends]), estimate.value)
