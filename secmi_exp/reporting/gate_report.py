"""What a gate decides: a sentence, a Markdown summary and JUnit XML for CI, and the exit status that follows."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from secmi_exp.evaluation.gate import LEVEL, Accounted, Comparison, Decision, Limits, Measured, Outcome, decide, worst
from secmi_exp.files.storage_errors import explain_storage_errors, output_place
from secmi_exp.formatting import one_sentence
from secmi_exp.reporting.results_file import read_results
from secmi_exp.reporting.run_folders import Runs, read_sweep
from secmi_exp.run_state import AttackOutcome, Run
from secmi_exp.targets.interface import PreparedTarget

SUMMARY, JUNIT = "gate.md", "gate.xml"

EXIT_STATUS = {Outcome.PASSED: 0, Outcome.FAILED: 3, Outcome.UNDECIDED: 4}

METRICS = {
    "max_auc": "AUC",
    "max_tpr_at_1pct": "TPR at 1% FPR",
    "max_epsilon": "ε",
    "max_extracted": "number of extracted members",
}
"""Limit → what it limits."""

WORDS = {
    Outcome.PASSED: "The gate is passed",
    Outcome.FAILED: "The gate has failed",
    Outcome.UNDECIDED: "The gate is undecided",
}

Decisions = Mapping[str, Decision]
"""Name of a run → what was decided on it; the name is empty for a run that is alone."""


class GateEnd(NamedTuple):
    """How a gate ends a command."""

    status: int
    sentence: str


def decide_run(run: Run, target: PreparedTarget | None, attacked: AttackOutcome) -> Decision | None:
    """Decide on a run by each of its scorers; None where no limit is set."""
    limits: Limits = run.parts.general.gate
    if not limits.given:
        return None
    accounted = _accounted(target.facts.get("privacy")) if target else None
    graves = [warning.code for warning in run.warnings if warning.grave]
    doubt = f"the figures measure no leak, by the run's warnings ({', '.join(graves)})" if graves else ""
    return Decision(
        tuple(
            comparison
            for name, judged in attacked.judgements.items()
            for comparison in decide(
                limits,
                name,
                judged,
                attacked.evaluated[name],
                attacked.bounds.get(name),
                accounted=accounted,
                extracted=attacked.copied(run.split.is_member),
                doubt=doubt,
            )
        )
    )


def _accounted(privacy: object) -> Accounted | None:
    """Read what a training's privacy.json states; None where it states no ε at some δ."""
    if not isinstance(privacy, dict):
        return None
    epsilon, delta = privacy.get("epsilon"), privacy.get("delta")
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not isinstance(delta, float):
        return None
    return Accounted(epsilon, delta)


def decisions_of(runs: Runs) -> dict[str, Decision]:
    """Return what was decided on each run of a sweep; one without a result is undecided. Empty without a gate."""
    found = {run.shown: run.results.gate for run in runs.finished if run.results.gate}
    if not found:
        return {}
    missing = {run.shown: Decision((_without_result(run.reason),)) for run in runs.failed}
    return {**found, **missing}


def _without_result(reason: str) -> Comparison:
    return Comparison("", "", 0.0, Measured(None), Outcome.UNDECIDED, reason.rstrip("."))


def gate_end(folder: Path) -> GateEnd | None:
    """Read what the gate of a run, or of the jobs of a sweep, has decided; None where no limit was set.

    Raises:
        UserError: where the results of a single run can't be read.
    """
    if (folder / "results.json").is_file():
        decision = read_results(folder / "results.json").gate
        decisions = {"": decision} if decision else {}
    else:
        decisions = decisions_of(read_sweep(folder))
    if not decisions:
        return None
    outcome = worst(each.outcome for each in decisions.values())
    return GateEnd(EXIT_STATUS[outcome], gate_sentence(decisions))


def gate_sentence(decisions: Decisions) -> str:
    """Return one sentence: the outcome, and the first comparison that it comes from.

    >>> limit = Comparison("stat", "max_auc", 0.55, Measured(0.898, 0.865, 0.923), Outcome.FAILED)
    >>> gate_sentence({"": Decision((limit,))})
    "The gate has failed: stat's AUC is 0.898 [0.865, 0.923], above gate.max_auc=0.55 (gate.md)."
    """
    listed = list(_listed(decisions))
    outcome = worst(each.outcome for _, each in listed)
    if outcome is Outcome.PASSED:
        several = f"all {len(listed)} intervals end at or below their limits"
        ends = "the interval ends at or below its limit" if len(listed) == 1 else several
        return f"{WORDS[outcome]}: {ends} ({SUMMARY})."
    decisive = [(name, each) for name, each in listed if each.outcome is outcome]
    name, first = decisive[0]
    job = f"job {name}: " if name else ""
    others = f"; and {len(decisive) - 1} more of {len(listed)} comparisons" if len(decisive) > 1 else ""
    advice = ": judge more images" if outcome is Outcome.UNDECIDED and "contains" in first.reason else ""
    return one_sentence(f"{WORDS[outcome]}: {job}{comparison_text(first)}{others} ({SUMMARY}){advice}.")


def _listed(decisions: Decisions) -> Iterator[tuple[str, Comparison]]:
    for name, decision in decisions.items():
        for comparison in decision.comparisons:
            yield name, comparison


def comparison_text(comparison: Comparison) -> str:
    """Return what was found and how it stands to the limit, as a part of a sentence."""
    if not comparison.limit:
        return f"there is nothing to compare ({comparison.reason})"
    limit = f"gate.{comparison.limit}={comparison.maximum:g}"
    subject = f"{comparison.scorer}'s {METRICS[comparison.limit]}"
    if comparison.measured.low is None:
        return f"{subject} is not resolved ({comparison.reason}), and {limit}"
    relation = {Outcome.PASSED: "at most", Outcome.FAILED: "above", Outcome.UNDECIDED: "compared with"}
    reason = f" ({comparison.reason})" if comparison.reason else ""
    return f"{subject} is {measured_text(comparison.measured)}, {relation[comparison.outcome]} {limit}{reason}"


def measured_text(measured: Measured) -> str:
    """Return a metric with its interval.

    >>> measured_text(Measured(0.5, 0.4, 0.6)), measured_text(Measured(None, 1.2)), measured_text(Measured(None))
    ('0.500 [0.400, 0.600]', '∞ [1.200, ∞)', 'not resolved')
    """
    if measured.low is None:
        return "not resolved"
    if measured.low == measured.high:  # a count
        return f"{measured.low:g}"
    value = "∞" if measured.value is None else f"{measured.value:.3f}"
    return f"{value} [{measured.low:.3f}, " + ("∞)" if measured.high is None else f"{measured.high:.3f}]")


def write_gate(folder: Path, decisions: Decisions) -> None:
    """Write gate.md and gate.xml into a directory.

    Raises:
        UserError: where they can't be written.
    """
    with explain_storage_errors(output_place(folder)):
        (folder / SUMMARY).write_text(markdown(decisions), encoding="utf-8")
        (folder / JUNIT).write_bytes(junit(decisions))


def markdown(decisions: Decisions) -> str:
    """Return the summary: the sentence, a row for each comparison, and how much the answer is worth."""
    listed = list(_listed(decisions))
    several = len(decisions) > 1
    headings = [*(["job"] if several else []), "scorer", "limit", "found [95% interval]", "outcome", "why"]
    lines = [f"## {_escaped(gate_sentence(decisions))}", "", _row(headings), "|---" * len(headings) + "|"]
    for name, each in listed:
        cells = [each.scorer, f"{each.limit} = {each.maximum:g}" if each.limit else ""]
        cells += [measured_text(each.measured), f"**{each.outcome}**", each.reason]
        lines.append(_row([*([name] if several else []), *cells]))
    return "\n".join([*lines, "", *level_notes(len(listed))]) + "\n"


def level_notes(comparisons: int) -> list[str]:
    """Return what the intervals' level means for one answer made of several."""
    false_alarm = min(1.0, comparisons * LEVEL)
    several = comparisons > 1
    decides = f" The worst of the {comparisons} decides." if several else ""
    product = f" ({comparisons} × {LEVEL:.1%})" if several else ""
    return [
        f"A comparison fails where its 95% interval lies above the limit, passes where the interval ends at or below "
        f"it, and is undecided where the interval contains it.{decides}",
        "",
        f"- A model that breaks a limit passes with a probability of at most {LEVEL:.1%}.",
        f"- A model that keeps all limits fails with a probability of at most {false_alarm:.1%}{product}.",
        "",
        "Extracted members are counted, not estimated: with more samples there may be more of them.",
        "",
        "Both hold as far as the intervals do (AUC: DeLong; TPR: bootstrap and Clopper–Pearson; ε: Clopper–Pearson, "
        "with images as independent draws), and for these attacks alone: another attack may find more.",
    ]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    return one_sentence(text).replace("|", r"\|").replace("<", "&lt;")


def junit(decisions: Decisions) -> bytes:
    """Return JUnit XML: a suite for each run, a case for each comparison; an undecided one is an error."""
    suites = ElementTree.Element("testsuites", name="secmi_exp gate")
    for name, decision in decisions.items():
        outcomes = [each.outcome for each in decision.comparisons]
        counts = {"failures": outcomes.count(Outcome.FAILED), "errors": outcomes.count(Outcome.UNDECIDED)}
        attributes = {"name": one_sentence(f"gate {name}".strip()), "tests": str(len(outcomes))}
        suite = ElementTree.SubElement(suites, "testsuite", attributes | {key: str(n) for key, n in counts.items()})
        for each in decision.comparisons:
            place = {"classname": one_sentence(f"gate.{each.scorer}"), "name": each.limit or "result"}
            case = ElementTree.SubElement(suite, "testcase", place)
            if each.outcome is not Outcome.PASSED:
                kind = "failure" if each.outcome is Outcome.FAILED else "error"
                message = one_sentence(comparison_text(each))
                ElementTree.SubElement(case, kind, {"type": str(each.outcome), "message": message})
    ElementTree.indent(suites)
    written: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return written
