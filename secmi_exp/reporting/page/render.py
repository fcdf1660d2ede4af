"""The report page: collects what its template shows, and renders it with a policy that keeps it from the network."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

import jinja2
import numpy as np
from markupsafe import Markup

from secmi_exp import __version__
from secmi_exp.reporting.entries import Entry, EvaluatedScores, named, names_by_run, read_entries
from secmi_exp.reporting.page.charts import BOTTOM, LEFT, RIGHT, TOP, histogram_chart, roc_chart, timestep_chart
from secmi_exp.reporting.page.config_differences import config_differences
from secmi_exp.reporting.page.images import Album
from secmi_exp.reporting.page.page_warnings import page_warnings
from secmi_exp.reporting.page.roc_curves import RocLine, roc_lines
from secmi_exp.reporting.page.timesteps import timestep_series
from secmi_exp.reporting.run_folders import Runs

SCRIPTS = ("table.js", "roc.js", "print.js")
STYLE = "page.css"
LONGEST_VALUE = 32
"""Characters of a setting's value in a name."""
MOST_SERIES = 6
"""Curves over timesteps that one chart tells apart; the table has all."""
QUALITY = {
    "denoising_loss": "loss on hold-outs",
    "denoising_loss_members": "loss on members",
    "kernel_distance": "kernel distance of samples",
    "kernel_distance_members": "of members",
    "fid": "FID",
}
"""Measures of quality → headings."""


@cache
def environment() -> jinja2.Environment:
    """Return the environment of the templates, which escapes all text."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("secmi_exp.reporting.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(runs: Runs) -> str:
    """Return the HTML of the report on some runs."""
    entries = page_entries(runs)
    album = Album()
    walked = [entry for entry in entries if entry.run.results.trajectory]
    names = names_by_run(entries)
    styles, scripts = read_asset(STYLE), [read_asset(name) for name in SCRIPTS]
    return (
        environment()
        .get_template("page.html")
        .render(
            version=__version__,
            now=datetime.now(UTC),
            style=Markup(styles),
            scripts=[Markup(script) for script in scripts],
            policy=content_policy([styles], scripts),
            runs=runs,
            entries=entries,
            names=names,
            warnings=page_warnings(runs, entries),
            lowest_auc=_lowest_auc(entries),
            quality=_measured_quality(entries),
            **_roc(roc_lines(entries)),
            histograms=list(_histograms(entries)),
            **_timesteps(entries),
            exposed=album.gallery(entries, "exposed.png", "Images with the highest and the lowest membership scores"),
            alike=album.gallery(entries, "near_duplicates.png", "Images that look alike, in groups, by side"),
            relative=album.gallery(
                walked, "relative_t_error.png", "Mean t-error of hold-outs over that of members, by timestep"
            ),
            differences=config_differences(names),
            packages=list(dict.fromkeys(package for run in names for package in run.results.versions)),
        )
    )


def page_entries(runs: Runs) -> list[Entry]:
    """Return all scorers of all runs under their names, the highest AUC first, those without one last."""
    entries = named(read_entries(runs.finished), longest_value=LONGEST_VALUE)
    return sorted(entries, key=lambda entry: -entry.auc if entry.auc is not None else 1.0)


def _lowest_auc(entries: Sequence[Entry]) -> float:
    """Return where the bars of AUC begin: at chance, or at the lowest interval."""
    return min([0.5, *(low for entry in entries if (low := entry.results.estimate("auc").low) is not None)])


def _measured_quality(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the measures that some run has, with their headings."""
    measured = {name for entry in entries if (quality := entry.run.results.quality) for name in quality.metrics}
    return {name: heading for name, heading in QUALITY.items() if name in measured}


def _roc(lines: Sequence[RocLine]) -> dict[str, object]:
    """Return the chart of the ROC, and what its script and the table beside it need."""
    if not lines:
        return {"roc": None}
    floor = 1.0 / max(max(line.curve.n_holdout, line.curve.n_member) for line in lines)
    best = lines[0].entry
    description = (
        f"True-positive rate over false-positive rate of {len(lines)} curves. The highest area, "
        f"{best.results.estimate('auc')}, is that of {best.name}. The table below has the rates."
    )
    curves = [
        {
            "name": line.entry.name,
            "fp": line.curve.false_positives.tolist(),
            "tp": line.curve.true_positives.tolist(),
        }
        for line in lines
    ]
    return {
        "roc": roc_chart(lines, floor, description),
        "roc_lines": lines,
        "roc_data": {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM, "floor": floor, "curves": curves},
        "roc_sizes": {(line.curve.n_member, line.curve.n_holdout) for line in lines},
    }


def _histograms(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Markup, str]]:
    """Yield entries that have scores, with their histograms and a sentence that says the same."""
    for place, entry in enumerate(entries):
        if entry.evaluated:
            yield entry, *_histogram(f"histogram-{place}", entry, entry.evaluated)


def _histogram(identity: str, entry: Entry, evaluated: EvaluatedScores) -> tuple[Markup, str]:
    is_member, values, what = evaluated.scored.is_member, evaluated.scored.scores, "membership score"
    thresholds = {name: value for name, value in entry.results.threshold.items() if value is not None}
    if evaluated.t_errors is not None and (evaluated.t_errors > 0).all():
        values, what = evaluated.t_errors, "t-error"
        thresholds = {name: -value for name, value in thresholds.items()}
    medians = [f"{np.median(values[side]):.3g}" for side in (is_member, ~is_member)]
    sentence = f"Median {what} of members {medians[0]}, of hold-outs {medians[1]}"
    logarithmic = what == "t-error"
    title = f"{what}s: {entry.name}"
    chart = histogram_chart(identity, title, sentence, what, values, is_member, thresholds, logarithmic=logarithmic)
    return chart, sentence


def _timesteps(entries: Sequence[Entry]) -> dict[str, object]:
    series = timestep_series(entries)
    charted = series[:MOST_SERIES]
    chart = timestep_chart(charted, "; ".join(map(str, charted))) if charted else None
    return {"timesteps": chart, "series": series, "charted": charted}


def content_policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return a content security policy that lets these styles and scripts in, and nothing else."""
    allowed_styles, allowed_scripts = (" ".join(map(_digest, each)) for each in (styles, scripts))
    return (
        f"default-src 'none'; img-src data:; style-src {allowed_styles}; script-src {allowed_scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}'"


def read_asset(name: str) -> str:
    """Return a style sheet or a script of the pages."""
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")
