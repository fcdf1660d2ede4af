"""What a reader has to know before the numbers: splits at fault, small samples, jobs without a result."""

from collections.abc import Sequence
from dataclasses import dataclass

from secmi_exp.reporting.page.entries import Entry
from secmi_exp.reporting.page.markup import Html, element, joined
from secmi_exp.reporting.page.runs import Failure, Findings, Run

SMALL = 100
"""Members or hold-outs, below which 1% FPR is less than one of them."""
NAMED = 3
"""Runs that a warning names before the others are asked for."""


@dataclass(frozen=True)
class Caution:
    """A warning."""

    sentence: str
    grave: bool
    """Whether figures of the page are no measure of a leak, or missing; otherwise it is a remark."""
    concerned: list[str]
    """Names of the runs, or none where it concerns all."""


def cautions(findings: Findings, entries: Sequence[Entry]) -> list[Caution]:
    """The grave ones first."""
    said: dict[tuple[str, bool], list[str]] = {}
    for entry in entries:
        for key in [*_of_run(entry.run), *_of_size(entry), *_of_scores(entry)]:
            said.setdefault(key, []).append(entry.name)
    found = [Caution(sentence, grave, names) for (sentence, grave), names in said.items()]
    if findings.failures:
        failed = [failure.shown for failure in findings.failures]
        found.append(Caution("These directories have no result that can be read; the others stand.", True, failed))
    if len({entry.sample.digest for entry in entries if entry.sample}) > 1:
        different = (
            "Not all runs were judged on the same samples: their figures differ by chance and by difficulty, too."
        )
        found.append(Caution(different, False, []))
    return sorted(found, key=lambda caution: not caution.grave)


def _of_run(run: Run) -> list[tuple[str, bool]]:
    """What the run itself warned of, and whether it recorded what it should have."""
    results = run.results
    if results.warnings is None:
        return [("An older version made this run and recorded no warnings about its data and target.", False)]
    found = [(warning.sentence, warning.grave) for warning in results.warnings]
    if results.judged and not results.split.blind:
        found.append(
            ("No blind check of the split is recorded, so that a difference between the sides would not show.", False)
        )
    return found


def _of_size(entry: Entry) -> list[tuple[str, bool]]:
    members, holdouts = entry.run.results.n_member, entry.run.results.n_holdout
    found = []
    if members is not None and holdouts is not None and min(members, holdouts) < SMALL:
        found.append((f"Few samples: fewer than {SMALL} members or hold-outs are judged; mind the intervals.", True))
    reasons = dict.fromkeys(reason.partition(", and there are")[0] for reason in entry.judged.unresolved.values())
    return found + [(f"Not resolved: {reason}.", False) for reason in reasons]


def _of_scores(entry: Entry) -> list[tuple[str, bool]]:
    found = []
    auc = entry.judged.estimate("auc")
    if auc.low is not None and auc.high is not None and auc.low <= 0.5 <= auc.high:
        found.append(("The interval of AUC covers 0.5: these scores can't be told from guessing.", False))
    if entry.scorer and not entry.sample:
        found.append((f"No curve is drawn, since {entry.lacking}.", False))
    return found


def warnings(found: Sequence[Caution]) -> Html:
    """As a list; a sentence where there are none."""
    if not found:
        return element("p", "None: no split is at fault, nothing failed, and all figures are resolved.", class_="quiet")
    return element("ul", *(_warning(caution) for caution in found), class_="warnings")


def _warning(caution: Caution) -> Html:
    kind = element("strong", "Warning" if caution.grave else "Note", class_="kind")
    names = joined(element("li", name) for name in caution.concerned)
    runs = None
    if len(caution.concerned) > NAMED:
        runs = element(
            "details", element("summary", f"{len(caution.concerned)} runs"), element("ul", names, class_="names")
        )
    elif names:
        runs = element("ul", names, class_="names")
    sentence = element("p", kind, " ", caution.sentence)
    return element("li", sentence, runs, class_="grave" if caution.grave else "remark")


def failures(found: Sequence[Failure]) -> Html | None:
    """What is known of directories without a result; None where there are none."""
    return element("dl", *(_failure(failure) for failure in found), class_="failures") if found else None


def _failure(failure: Failure) -> Html:
    given = " ".join(f"{name}={value}" for name, value in failure.given.items())
    return joined([
        element("dt", failure.shown),
        element("dd", failure.reason),
        element("dd", "Settings: ", element("code", given)) if given else None,
        element("dd", "Its log ends with: ", element("code", failure.last_words)) if failure.last_words else None,
    ])  # fmt: skip
