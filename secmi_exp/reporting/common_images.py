"""Scores from several files that list partly other images: compared on those that all of them have judged."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from secmi_exp.evaluation.delong import auc_interval
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Bools, Scored
from secmi_exp.reporting.entries import Entry, EvaluatedScores, samples_digest
from secmi_exp.reporting.results_file import ScorerResults

log = logging.getLogger(__name__)

ELSEWHERE = "of the images in common only the AUC and the ASR are compared"


def on_common_images(entries: Sequence[Entry]) -> list[Entry]:
    """Restrict entries of ``dataset=scored_images`` to the ids that all of them have judged; others stay as they are.

    They stay too where they have judged the same images, where the images in common don't have both sides, and where
    the files disagree on who is a member, which is logged.
    """
    listed = {position: entry.evaluated for position, entry in enumerate(entries) if entry.evaluated}
    listed = {position: evaluated for position, evaluated in listed.items() if evaluated.ids}
    if len({evaluated.samples for evaluated in listed.values()}) < 2:
        return list(entries)
    common = set.intersection(*(set(evaluated.ids) for evaluated in listed.values()))
    masks = {position: np.array([each in common for each in evaluated.ids]) for position, evaluated in listed.items()}
    sides = [evaluated.scored.is_member[masks[position]] for position, evaluated in listed.items()]
    if not (sides[0].any() and not sides[0].all()):
        log.warning("The files of scores have no members and hold-outs in common, so that they are not compared.")
        return list(entries)
    if any((side != sides[0]).any() for side in sides):
        log.warning("The files of scores disagree on who is a member, so that they are not compared.")
        return list(entries)
    log.warning("The files of scores list different images: compared on the %d that all of them judge.", len(common))
    return [
        restricted(entry, listed[position], masks[position]) if position in listed else entry
        for position, entry in enumerate(entries)
    ]


def restricted(entry: Entry, evaluated: EvaluatedScores, kept: Bools) -> Entry:
    """The entry with its AUC and ASR on some of its images.

    Args:
        entry: of a run.
        evaluated: its scores, in the order of their ids, [n].
        kept: whether an image is kept, [n].
    """
    scored = Scored(evaluated.scored.scores[kept], evaluated.scored.is_member[kept])
    ids = tuple(name for name, keep in zip(evaluated.ids, kept, strict=True) if keep)
    roc = Roc.from_scores(scored.scores, scored.is_member)
    metrics = dict.fromkeys(entry.results.metrics) | {"auc": roc.auc, "asr": roc.best_threshold()[1]}
    results = ScorerResults(
        metrics=metrics,
        ci95={"auc": auc_interval(scored.scores, scored.is_member)},
        unresolved={name: ELSEWHERE for name, value in metrics.items() if value is None},
    )
    samples = samples_digest(entry.run.results.dataset, ids, scored.is_member)
    return replace(entry, results=results, evaluated=EvaluatedScores(scored, roc, None, samples, ids))
