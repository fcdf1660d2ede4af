"""The page as a whole: its sections, its style and scripts, and a policy that keeps it from the network."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files

from secmi_exp import __version__
from secmi_exp.reporting.page.cautions import cautions, failures, warnings
from secmi_exp.reporting.page.comparison import comparison
from secmi_exp.reporting.page.differences import differences
from secmi_exp.reporting.page.entries import Entry, entries
from secmi_exp.reporting.page.histograms import histograms
from secmi_exp.reporting.page.markup import Html, element, empty, joined
from secmi_exp.reporting.page.pictures import Album
from secmi_exp.reporting.page.provenance import provenance
from secmi_exp.reporting.page.quality import quality
from secmi_exp.reporting.page.roc_chart import roc_chart
from secmi_exp.reporting.page.runs import Findings
from secmi_exp.reporting.page.timesteps import timestep_chart

TITLE = "Membership inference: report"
SCRIPTS = ("table.js", "roc.js", "print.js")
STYLE = "page.css"
PLACES = {
    "warnings": "Warnings",
    "comparison": "Comparison",
    "quality": "Leak and quality",
    "roc-section": "ROC",
    "distributions": "Distributions",
    "over-timesteps": "Timesteps",
    "exposed": "Exposed images",
    "configurations": "Configurations",
    "failed": "Without a result",
    "provenance": "Provenance",
}
"""Sections in their order: id → title."""


def page(findings: Findings) -> str:
    """The HTML of the report on what was found."""
    rows = entries(findings.runs)
    sections = {place: content for place, content in _contents(findings, rows).items() if content}
    links = element(
        "ul", *(element("li", element("a", PLACES[place], href=f"#{place}")) for place in PLACES if place in sections)
    )
    body = element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        element("header", element("h1", TITLE), element("p", _summary(findings, rows))),
        element("nav", links, aria_label="Sections"),
        element("main", *(_section(place, sections[place]) for place in PLACES if place in sections), id="content"),
        element("footer", element("p", f"Made by secmi_exp {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.")),
        *(element("script", Html(_asset(name))) for name in SCRIPTS),
    )
    return joined([Html("<!doctype html>\n"), element("html", _head(), body, lang="en")]) + "\n"


def _contents(findings: Findings, rows: Sequence[Entry]) -> dict[str, Html | None]:
    """By the section's id; None where there is nothing to show."""
    album = Album()
    exposed = album.gallery(rows, "exposed.png", "Images with the highest and the lowest membership scores")
    walked = [entry for entry in rows if entry.run.results.trajectory]
    relative = album.gallery(
        walked, "relative_t_error.png", "Mean t-error of hold-outs over that of members, by timestep"
    )
    timesteps = [part for part in (timestep_chart(rows), relative) if part]
    return {
        "warnings": warnings(cautions(findings, rows)),
        "comparison": comparison(rows) if rows else None,
        "quality": quality(rows),
        "roc-section": roc_chart(rows),
        "distributions": histograms(rows),
        "over-timesteps": joined(timesteps) if timesteps else None,
        "exposed": exposed,
        "configurations": differences(rows) if rows else None,
        "failed": failures(findings.failures),
        "provenance": provenance(rows) if rows else None,
    }


def _section(place: str, content: Html) -> Html:
    heading = element("h2", PLACES[place], id=f"{place}-heading")
    return element("section", heading, content, id=place, aria_labelledby=f"{place}-heading")


def _summary(findings: Findings, rows: Sequence[Entry]) -> Html:
    """One line that says what was found."""
    runs, failed = len(findings.runs), len(findings.failures)
    datasets = sorted({run.results.dataset for run in findings.runs})
    told = f"{runs} run{'' if runs == 1 else 's'}" + (f" on {', '.join(datasets[:4])}" if datasets else "")
    told += f"; {failed} director{'y' if failed == 1 else 'ies'} without a result" if failed else ""
    best = rows[0] if rows and rows[0].auc is not None else None
    leading = [" Highest AUC: ", element("strong", best.name), f", {best.judged.estimate('auc')}."] if best else []
    return joined([told, ".", *leading])


def _head() -> Html:
    scripts = " ".join(_digest(_asset(name)) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(_asset(STYLE))}; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )
    return element(
        "head",
        empty("meta", charset="utf-8"),
        empty("meta", http_equiv="Content-Security-Policy", content=policy),
        empty("meta", name="viewport", content="width=device-width, initial-scale=1"),
        empty("meta", name="color-scheme", content="light dark"),
        empty("meta", name="referrer", content="no-referrer"),
        empty("link", rel="icon", href="data:,"),
        element("title", TITLE),
        element("style", Html(_asset(STYLE))),
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    """As the policy names what it lets run: nothing else that got into the page would."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}'"
