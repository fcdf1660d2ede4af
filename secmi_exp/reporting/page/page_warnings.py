"""What a reader of the page has to know first: splits at fault, small samples, runs without results."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from secmi_exp.reporting.entries import Entry
from secmi_exp.reporting.run_folders import Runs
from secmi_exp.run_warnings import grave_first

SMALL = 100
"""Members or hold-outs, below which 1% FPR is less than one of them."""


@dataclass(frozen=True)
class PageWarning:
    """A warning about some runs."""

    sentence: str
    grave: bool
    """Whether figures of the page are no measure of a leak, or missing."""
    runs: list[str]
    """Names of the runs; none if it concerns all."""


def page_warnings(runs: Runs, entries: Sequence[Entry]) -> list[PageWarning]:
    """Return the warnings, the grave ones first."""
    concerned: dict[tuple[str, bool], list[str]] = {}
    for entry in entries:
        for key in _of_entry(entry):
            concerned.setdefault(key, []).append(entry.name)
    warnings = [PageWarning(sentence, grave, names) for (sentence, grave), names in concerned.items()]
    if runs.failed:
        failed = [run.shown for run in runs.failed]
        warnings.append(
            PageWarning("These directories have no result that can be read; the others stand.", True, failed)
        )
    if len({entry.evaluated.samples for entry in entries if entry.evaluated}) > 1:
        sentence = (
            "Not all runs were judged on the same samples: their figures differ by chance and by difficulty, too."
        )
        warnings.append(PageWarning(sentence, False, []))
    return grave_first(warnings)


def _of_entry(entry: Entry) -> Iterator[tuple[str, bool]]:
    """Yield what an entry's run warned of, what it should have recorded, and how far its figures are resolved."""
    run, results = entry.run.results, entry.results
    if run.warnings is None:
        yield "An older version made this run and recorded no warnings about its data and target.", False
    else:
        yield from ((warning.sentence, warning.grave) for warning in run.warnings)
        if run.scorers and not run.split.blind:
            yield (
                "No blind check of the split is recorded, so that a difference between the sides would not show.",
                False,
            )
    if run.n_member is not None and run.n_holdout is not None and min(run.n_member, run.n_holdout) < SMALL:
        yield f"Few samples: fewer than {SMALL} members or hold-outs are judged; mind the intervals.", True
    for reason in dict.fromkeys(reason.partition(", and there are")[0] for reason in results.unresolved.values()):
        yield f"Not resolved: {reason}.", False
    auc = results.estimate("auc")
    if auc.low is not None and auc.high is not None and auc.low <= 0.5 <= auc.high:
        yield "The interval of AUC covers 0.5: these scores can't be told from guessing.", False
    if entry.scorer and not entry.evaluated:
        yield f"No curve is drawn, since {entry.missing}.", False
