"""One page about one run for somebody who isn't a specialist, such as a data owner's lawyer: a question and its answer.

The answer goes by the attack's own scorer, which was named before anybody looked, and by its AUC, in words: the share
of pairs of a member and a hold-out in which the member scores higher.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from markupsafe import Markup

from secmi_exp import __version__
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.regular import read_regular
from secmi_exp.formatting import shortened
from secmi_exp.reporting.page.owner_doubts import doubts, pairs_in_words
from secmi_exp.reporting.page.render import content_policy, environment, read_asset
from secmi_exp.reporting.results_file import Results, Surrogates
from secmi_exp.reporting.run_folders import FinishedRun, Runs
from secmi_exp.run_warnings import grave_first
from secmi_exp.store.manifest import Damaged, read_manifest

STYLE = "owner.css"

EVIDENCE = 0.01
"""p-value up to which a result counts as evidence: one of a hundred collections that weren't used gives as much."""
SMALL = 0.6
"""AUC below which the interval must end for "no evidence found"; else the images are too few to tell."""
UNDERSTATING = "holdouts_equal_to_a_member"
"""Code of the grave warning that leaves evidence as it is: it makes a difference look smaller."""
ANSWERED = {UNDERSTATING, "holdouts_score_higher"}
"""Codes of grave warnings that have answers of their own."""
MOST_WARNINGS, LONGEST_WARNING, LONGEST_NAME = 3, 240, 90
"""Number of the run's own warnings that are printed, and characters of one and of a name: all fits on one page."""
SURROGATES = "surrogate_holdouts"
"""Code of the warning with a surrogate run's own answer, which is printed in full."""
ALLOWED_FOR = "split_at_fault"
"""Code of the warning that a surrogate run's answer has allowed for: that made-up images differ from others."""
MADE = {
    "references": "the reference images",
    "generated": "made by the model itself",
    "augmented": "made by this program of the images in question: a part of each, enlarged",
}
"""Kind of surrogates → what the comparison images are."""
EXPECTED = {
    "references": "as many pairs as a classifier finds that never sees the model",
    "generated": "as many pairs as of the reference images and the same comparison images, and those that a classifier "
    "finds without seeing the model",
    "augmented": "as many pairs as of the reference images and what was made of these in the same way",
}
"""Kind of surrogates → in how many pairs an image in question is expected to score higher if it was not used."""
MOST_WEIGHTS = 3
"""Files of weights whose hashes are printed."""

CHANCES = ((1e-6, "1 of 1,000,000"), (1e-4, "1 of 10,000"), (1e-3, "1 of 1,000"), (EVIDENCE, "1 of 100"))
"""p-values in words."""


class Verdict(StrEnum):
    """The kinds of answers; the value is the heading."""

    EVIDENCE = "Evidence that they were used"
    NOTHING_FOUND = "No evidence found that they were used"
    UNCLEAR = "It can't be told"


@dataclass(frozen=True)
class Answer:
    """What the page answers."""

    verdict: Verdict
    sentence: str


def answer(results: Results) -> Answer:
    """Answer whether the members were used, in a sentence with its certainty.

    Raises:
        UserError: for a run that judged nothing.
    """
    auc = results.estimate("auc")
    if auc.value is None or auc.low is None or auc.high is None or results.collection is None:
        raise UserError(
            "The run has attacked nothing, so that there is no answer for an owner: name a run with +attack=…."
        )
    if results.surrogates:
        return _answer_by_surrogates(results.surrogates)
    if (unsound := next(_reasons_against(results), None)) is not None:
        return Answer(Verdict.UNCLEAR, unsound)
    compared = (
        "Of 100 pairs of an image in question and a comparison image, the attack scores the one in question higher in "
        f"{pairs_in_words(auc)}"
    )
    p_value = results.collection.p_mann_whitney
    if p_value is not None and p_value <= EVIDENCE and auc.low > 0.5:
        return Answer(
            Verdict.EVIDENCE,
            f"{compared}; of collections that were not used, and are otherwise like the comparison images, at most "
            f"{_chance(p_value)} would give such a result.",
        )
    if any(warning.code == UNDERSTATING for warning in results.warnings or []):
        return Answer(
            Verdict.UNCLEAR,
            f"{compared}, and some comparison images are images that the model is said to have seen, which hides what "
            "there is to find: replace them.",
        )
    if auc.high < 0.5:
        return Answer(
            Verdict.UNCLEAR,
            f"{compared}: the comparison images seem the more used ones, so look whether they were used themselves, or "
            "are of another kind.",
        )
    if auc.high < SMALL:
        return Answer(
            Verdict.NOTHING_FOUND,
            f"{compared}: this attack finds no sign of use, which does not prove that they were not used.",
        )
    return Answer(
        Verdict.UNCLEAR,
        f"{compared}: with {results.collection.n} and {results.collection.n_reference} images judged, this is too "
        "uncertain to tell use from chance; more images may decide it.",
    )


def _answer_by_surrogates(found: Surrogates) -> Answer:
    """Answer by the excess over what is expected without membership, where the hold-outs are surrogates."""
    if not found.excess:
        return Answer(Verdict.UNCLEAR, f"{found.why[:1].upper()}{found.why[1:]}.")
    low, high = found.excess.ci90
    compared = (
        "Of 100 pairs of an image in question and a comparison image, the attack scores the one in question higher in "
        f"{_more(found.excess.value)} than is expected without use (with 90% confidence {_more(low)} to {_more(high)})"
    )
    if found.excess.p_value <= EVIDENCE:
        return Answer(
            Verdict.EVIDENCE,
            f"{compared}; of collections that were not used, and that the model would otherwise treat like the "
            f"reference images, at most {_chance(found.excess.p_value)} would give such a result.",
        )
    if high < SMALL - 0.5:
        return Answer(
            Verdict.NOTHING_FOUND,
            f"{compared}: this attack finds no sign of use, which does not prove that they were not used.",
        )
    return Answer(
        Verdict.UNCLEAR, f"{compared}: this is too uncertain to tell use from chance; more images may decide it."
    )


def _more(difference: float) -> str:
    """Return a difference of AUCs in words.

    >>> _more(0.258), _more(-0.064), _more(-0.00375)
    ('26 more', '6 fewer', '0 more')
    """
    pairs = round(100 * difference)
    return f"{-pairs} fewer" if pairs < 0 else f"{pairs} more"


def _chance(p_value: float) -> str:
    return next(words for most, words in CHANCES if p_value <= most)


def _reasons_against(results: Results) -> Iterator[str]:
    """Yield why the attack's figures say nothing about use."""
    if results.split.blind and results.split.blind.get("split_at_fault"):
        yield (
            "The two groups of images can be told apart without the model (see the check below), so that whatever the "
            "attack finds may be that difference rather than use in training; other comparison images are needed."
        )
    for warning in results.graves:
        if warning.code not in ANSWERED:
            yield f"The run's figures are no measure of use: {shortened(warning.sentence, LONGEST_WARNING)}"


def render_owner_page(runs: Runs) -> str:
    """Return the HTML of the page on a run.

    Raises:
        UserError: where there is not exactly one run with results, or it has attacked nothing.
    """
    if len(runs.finished) != 1:
        raise UserError(
            f"A page for an owner is about one run, and here are {len(runs.finished)} with results: name the directory "
            "of one run."
        )
    (run,) = runs.finished
    found = answer(run.results)
    style = read_asset(STYLE)
    return (
        environment()
        .get_template("owner.html")
        .render(
            version=__version__,
            now=datetime.now(UTC),
            policy=content_policy([style], []),
            style=Markup(style),
            results=run.results,
            answer=found,
            kind=found.verdict.name.lower().replace("_", "-"),
            compared=dict(_compared(run)),
            doubts=list(doubts(run.results)),
            warnings=_warnings(run.results),
            hashes=dict(_hashes(run)),
            written=run.written,
        )
    )


def _compared(run: FinishedRun) -> Iterator[tuple[str, str]]:
    """Yield what was compared, by heading."""
    results, config = run.results, run.config
    yield from _images_compared(run)
    queries = results.queries_per_sample or 0
    if results.target == "none":
        yield "Model", "none was asked: the scores were made elsewhere"
    else:
        yield "Model", f"{results.target}, {_origin(results.target_trained_here, config.get('target.path'))}"
    yield (
        "Attack",
        f"{results.attack}: it asks the model {queries:g} times about each image, without knowing its group, "
        "and gives a score; a higher one means: more likely used"
        if queries
        else f"{results.attack}: a score for each image; a higher one means: more likely used",
    )


def _images_compared(run: FinishedRun) -> Iterator[tuple[str, str]]:
    """Yield the groups of images, and what is expected without use where the comparison images are surrogates."""
    split, collection, found = run.results.split, run.results.collection, run.results.surrogates
    assert collection
    if not found:
        given = _given(split.holdouts, collection.n_reference)
        yield "Images in question", f"{_given(split.members, collection.n)}; from {_source(run, 'members')}"
        yield "Comparison images", f"{given}; from {_source(run, 'holdout')}; said not to have been used"
        return
    yield "Images in question", f"{_given(split.members, found.images)}; from {_source(run, 'members')}"
    yield "Comparison images", MADE.get(found.kind, found.kind)
    if not found.blind:
        yield "Reference images", "none were given"
        return
    number = "" if found.references is None else f"{found.references:,}, all of them judged; "
    yield "Reference images", f"{number}from {_source(run, 'references')}; said not to have been used"
    yield "Expected without use", EXPECTED.get(found.kind, found.kind)


def _given(total: int | None, judged: int | None) -> str:
    """Return how many images were given and judged, as far as that was recorded."""
    if total is None or judged is None:
        return f"{total or judged or 0:,}"
    return f"{total:,} given, of which {judged:,} are judged"


def _source(run: FinishedRun, side: str) -> str:
    """Return where the images of a side are from."""
    source = run.config.get(f"dataset.{side}")
    return _name((run.config.get("dataset.path") or run.results.dataset) if source in (None, "null") else source)


def _origin(trained_here: bool | None, path: str | None) -> str:
    """Where a model comes from.

    Args:
        trained_here: None: not recorded.
        path: that the settings give, of the model or of what its training started from; None, or null: none.

    >>> _origin(True, "model")
    'model, trained further by this program on the images in question'
    >>> _origin(True, None), _origin(False, "model"), _origin(False, None)
    ('trained by this program on the images in question', 'model', 'not trained by this program')
    >>> _origin(None, "null")
    'of which it was not recorded who trained it'
    """
    named = None if path in (None, "null") else _name(path)
    if trained_here:
        trained = "by this program on the images in question"
        return f"{named}, trained further {trained}" if named else f"trained {trained}"
    if named:
        return named
    return "of which it was not recorded who trained it" if trained_here is None else "not trained by this program"


def _warnings(results: Results) -> list[str]:
    sentences = [
        warning.sentence if warning.code == SURROGATES else shortened(warning.sentence, LONGEST_WARNING)
        for warning in grave_first(results.warnings or [])
        if not (results.surrogates and warning.code == ALLOWED_FOR)
    ]
    more = len(sentences) - MOST_WARNINGS
    return sentences[:MOST_WARNINGS] + ([f"{more} more are in results.json."] if more > 0 else [])


def _hashes(run: FinishedRun) -> Iterator[tuple[str, str]]:
    """Yield what identifies the run's inputs."""
    origin = run.results.provenance
    try:
        config = hashlib.sha256(read_regular(run.folder / "config.yaml")).hexdigest()
    except (OSError, UserError) as error:
        config = f"can't be read ({first_line(error)})"
    yield "settings (config.yaml)", config
    yield "split into groups", origin.split or "not recorded"
    yield "images judged and set aside", origin.attacked or "not recorded"
    yield "images in question, all", origin.members or "not recorded"
    for name, digest in _weights(run.results.target_folder).items():
        yield f"weights: {name}", digest
    yield "model's weights and settings", origin.target or "no model was asked"
    yield "what the model answered", origin.measured or "not recorded"
    modified = " with changes" if origin.code.modified else ""
    yield "program's revision", f"{origin.code.revision}{modified}" if origin.code.revision else "not recorded"


def _weights(folder: str) -> dict[str, str]:
    """Return the largest files of a stored target's weights with their SHA-256; none where the store has no record."""
    try:
        files = read_manifest(Path(folder)).files if folder else {}
    except Damaged:
        return {}
    weights = sorted((name for name in files if name.endswith(".safetensors")), key=lambda name: -files[name].bytes)
    return {shortened(Path(name).parent.name, LONGEST_NAME): files[name].sha256 for name in weights[:MOST_WEIGHTS]}


def _name(path: str) -> str:
    """Return the end of a path or a name, where it is long."""
    return path if len(path) <= LONGEST_NAME else f"…{path[-LONGEST_NAME:]}"
