"""What would make the answer on the page for an owner wrong, each with what the run knows of it."""

from collections.abc import Iterator
from typing import Any

from secmi_exp.reporting.results_file import Estimate, Results, SplitFacts, Surrogates


def doubts(results: Results) -> Iterator[tuple[str, str]]:
    """Yield what would make the answer wrong, each with what is known of it."""
    copies = f"{_copies(results.split)} {_near_duplicates(results.split.near_duplicates)}"
    if found := results.surrogates:
        others = "reference images"
        yield (
            f"The images in question and the {others} differ in more than use",
            "The answer takes it that the model would treat both alike if it had seen neither. "
            f"{_blind_to_references(found)}",
        )
        if found.kind != "references":
            copies = f"Whether any of the {others} is an image in question has not been looked for."
    else:
        others = "comparison images"
        yield (
            "The two groups differ in more than use",
            f"Source, time and processing of the {others} must be those of the images in question. "
            f"{_blind(results.split.blind)}",
        )
    yield (
        f"The {others} were used, too",
        "It is taken as given that none was. Each that was makes a real difference look smaller.",
    )
    yield "The same image on both sides", copies
    yield (
        "Another model, or another attack",
        "The answer is about the model with the hash below, and about this attack alone: another one may find more. It "
        "is about the collection as a whole, not about any single image.",
    )


def _blind(blind: dict[str, Any] | None) -> str:
    """Return the outcome of the check by classifiers that never see the target."""
    if not blind:
        return "Nothing has checked that: no classifier without the model was tried on them."
    value, ends = blind.get("auc"), blind.get("ci95") or (None, None)
    rate = (
        ""
        if value is None
        else f": of 100 pairs it picks the one in question in {pairs_in_words(Estimate(value, *ends))}"
    )
    outcome = "tells them apart" if blind.get("split_at_fault") else "finds no difference that can't be chance"
    return f"A classifier that never sees the model {outcome}{rate}."


def _blind_to_references(found: Surrogates) -> str:
    """Return how well a classifier that never sees the target tells images in question and references apart."""
    if not found.blind:
        return "There are no reference images, so that nothing is known of that."
    limit = "" if found.limit is None else f"; where it may be more than {100 * found.limit:.0f}, there is no answer"
    return (
        "Of 100 pairs of the two, a classifier that never sees the model picks the one in question in "
        f"{pairs_in_words(Estimate(found.blind['auc'], *found.blind['ci95']))}{limit}."
    )


def _copies(split: SplitFacts) -> str:
    """Return what was found of exact copies."""
    equal, within = split.holdouts_equal_to_a_member, split.copies_within_side
    if equal is None:
        return "Whether images occur twice was not recorded."
    repeated = f", and {sum(within.values()):,} images repeat another of their own group" if within else ""
    return (
        f"Exact copies were looked for: {equal:,} comparison images equal one that the model is said to have seen"
        f"{repeated}."
    )


def _near_duplicates(found: dict[str, Any] | None) -> str:
    """Return what was found of resized or edited copies."""
    alike = (found or {}).get("holdouts_like_a_member")
    if alike is None:
        return "Resized or edited copies would not be noticed."
    by = "a perceptual hash, which misses some edits"
    if "similarity" in (found or {}):
        by = "a perceptual hash and a network's features, which may miss edits"
    return f"By {by}, {alike:,} comparison images look like an image in question."


def pairs_in_words(estimate: Estimate) -> str:
    """Return an AUC in words.

    >>> pairs_in_words(Estimate(0.898, 0.865, 0.923))
    '90 (with 95% confidence 86 to 92; guessing gives 50)'
    """
    value, low, high = (100 * (each or 0.0) for each in estimate)
    return f"{value:.0f} (with 95% confidence {low:.0f} to {high:.0f}; guessing gives 50)"
